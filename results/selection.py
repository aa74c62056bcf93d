"""Which searches and which variants a table shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from results.archive import ARCHIVED
from results.errors import InputError
from results.frames import Frames
from results.ids import unknown
from results.table import Table
from results.text import counted

KIND_KEYS = ("ffn", "arch")
"""Keys that name what a variant's feed-forward part is; `arch` that of imported ones."""


def searches_with(
    frames: Frames, names: Sequence[str], *, tags: Sequence[str], note: str | None, archived: bool = False
) -> list[str]:
    """Ids of the named searches (all, oldest first, where none is named) with all of these tags and that text in the notes.

    Archived ones are among them if they are named, if `archived` is set, or if that tag is asked for.

    Raises:
        InputError: an unknown search, or none that is left.
    """
    hidden = [] if names or archived or ARCHIVED in tags else frames.archived
    chosen = [frames.search(name) for name in names or frames.searches["id"] if name not in hidden]
    kept = [
        str(search["id"])
        for search in chosen
        if set(tags) <= set(search["tags"] or []) and (note is None or note.lower() in str(search["notes"]).lower())
    ]
    if (tags or note is not None) and not kept:
        wanted = [*(f"the tag {name!r}" for name in tags), *([] if note is None else [f"{note!r} in its notes"])]
        known = sorted({str(name) for search in chosen for name in search["tags"] or []})
        there = f"the tags are {', '.join(known) or 'none yet'}" if tags else "leave --note out to see them all"
        kept_out = f" ({len(hidden)} archived ones are left out; --all takes them in)" if hidden else ""
        raise InputError(f"No search has {' and '.join(wanted)}{kept_out}; {there} (python -m results.show --list).")
    return kept


def of_kinds(table: Table, kinds: Sequence[str]) -> Table:
    """The table with the rows of these kinds alone; ranks and tests stay those of the whole.

    Raises:
        InputError: a kind that no row has.
    """
    if not kinds:
        return table
    found: list[set[str]] = [
        {
            str(row[key]) if key in row else str(table.common[key])
            for key in KIND_KEYS
            if key in row or key in table.common
        }
        for row in table.rows.to_dict("records")
    ]
    for kind in kinds:
        if not any(kind in names for names in found):
            raise InputError(unknown("kind", kind, sorted(set().union(*found) - {"nan", "None"})))
    keep = [bool(names & set(kinds)) for names in found]
    note = f"Left out: {counted(keep.count(False), 'variant')} of other kinds; ranks and tests are those of the whole table."
    rows = table.rows[keep].reset_index(drop=True)
    by_kind = {key: value for key, value in table.by_kind.items() if rows[key].notna().any()}
    return replace(table, rows=rows, by_kind=by_kind, notes=[*table.notes, *([note] if not all(keep) else [])])
