"""Archived searches: out of sight in lists and tables, whole in the store. A tag says it, so the schema need not."""

from __future__ import annotations

from collections.abc import Iterable

from results.store import Store

ARCHIVED = "archived"


def is_archived(tags: Iterable[str] | None) -> bool:
    """Whether a search with these tags is archived."""
    return ARCHIVED in (tags or ())


def archive(store: Store, search_id: str) -> bool:
    """Archive a search; whether it was not. Raises InputError for an unknown id."""
    tags = store.search(search_id).tags
    if is_archived(tags):
        return False
    store.update_search(search_id, tags=[*tags, ARCHIVED])
    return True


def restore(store: Store, search_id: str) -> bool:
    """Bring a search back into sight; whether it was archived. Raises InputError for an unknown id."""
    tags = store.search(search_id).tags
    if not is_archived(tags):
        return False
    store.update_search(search_id, tags=[tag for tag in tags if tag != ARCHIVED])
    return True
