"""What a person names to be compared, found in the store: a trial, a variant by hash or by its keys, a search."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from results.errors import InputError
from results.frames import Frames
from results.ids import unknown
from results.protocol import IMPORTED, with_protocol
from results.table import COMPLETE, Table, measured, runs, variants
from results.text import keys_text, missing, plain
from results.tuned import LR_TUNING

_HASH = re.compile(r"[0-9a-f]{4,10}")
_TRIAL = re.compile(r"([\w.-]+-\d+)\.\d+")
"""A trial's id, and in it its search's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One side of a comparison: a variant of a search with all its seeds."""

    name: str
    """As it was given, or `SEARCH:HASH` where a search was."""
    search: str
    variant: str
    label: str
    """The keys that tell it from the others of its search."""
    trials: pd.DataFrame
    """Its trials that ran to their end, a seed once, with their `protocol`."""
    trial: str | None
    """The one trial that was named, if one was."""
    named: pd.DataFrame
    """That trial, or all of `trials`; empty where it did not run to its end."""
    unfinished: str
    """Its status in words while it has no mean; else empty."""
    chosen: bool
    """Whether its values picked it out of many: the best of a search, or a variant that ASHA let through."""
    shared: int = 0
    """Runs that were taken from `trials` since the other side has the same ones."""

    @property
    def is_imported(self) -> bool:
        return bool((self.trials[IMPORTED] != "").any())

    def values(self, column: str) -> list[float]:
        """What its finished trials have in a column of the trials frame."""
        return [float(value) for value in self.trials[column].dropna()]


def pairs_of(frames: Frames, names: Sequence[str], search: str | None) -> list[tuple[Arm, Arm]]:
    """The first that is named against each other one. Searches: each variant that both have, else their best ones.

    Args:
        search: where hashes and keys are looked up; the latest search where it is none.
    Raises:
        InputError: fewer than two names, one that is unknown or ambiguous, or one variant named twice; several searches
            of which only some share a variant with the first.
    """
    if len(names) < 2:
        raise InputError(f"A comparison needs at least two of trial, variant or search, but got {len(names)}.")
    searches = set(frames.searches["id"])
    if all(name in searches for name in names):
        if len(set(names)) < len(names):
            raise InputError("Every search must be named once.")
        shared = {other: _in_both(frames, names[0], other) for other in names[1:]}
        if any(shared.values()):
            _require_all(shared, names[0])
            return [pair for common in shared.values() for pair in common]
    arms = [_arm(frames, name, search) for name in names]
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            if (arm.search, arm.variant) == (other.search, other.variant) and not (arm.trial and other.trial):
                raise InputError(
                    f"The sides of a comparison must differ, but {other.name!r} and {arm.name!r} are one variant "
                    f"({arm.label})."
                )
    return [(arms[0], other) for other in arms[1:]]


def _require_all(shared: Mapping[str, Sequence[object]], first: str) -> None:
    """Raises InputError for a search that shares no variant with the first: its best one would answer another question."""
    for other, common in shared.items():
        if not common:
            raise InputError(
                f"Of several searches all must share a ranked variant with the first, or none, but {other} has none of "
                f"{first}; leave it out, or compare it with {first} alone."
            )


def counted_once(a: Arm, b: Arm) -> tuple[Arm, Arm]:
    """The second side without the runs that the first one has, too.

    Two copies of a run tell nothing of a difference: with them on both sides the gap shrinks toward 0 and n is inflated.
    What is left on the two sides are independent draws, which the tests between them take for granted.
    """
    if a.is_imported or b.is_imported:
        return a, b
    ours = set(runs(a.trials))
    fresh = [run not in ours for run in runs(b.trials)]
    return a, b if all(fresh) else replace(b, trials=b.trials[fresh], shared=fresh.count(False))


def _in_both(frames: Frames, first: str, second: str) -> list[tuple[Arm, Arm]]:
    ours, theirs = (variants(frames, name, everything=True) for name in (first, second))
    known = set(theirs.rows["variant"]) if len(theirs.rows) else set()
    ranked = ours.rows[ours.rows["rank"].notna()] if len(ours.rows) else ours.rows
    names = [str(name) for name in dict.fromkeys(ranked["variant"]) if name in known] if len(ranked) else []
    return [
        (_of_variant(frames, ours, name, f"{first}:{name}"), _of_variant(frames, theirs, name, f"{second}:{name}"))
        for name in names
    ]


def _arm(frames: Frames, name: str, search: str | None) -> Arm:
    trials = frames.trials
    row = trials[trials["id"] == name]
    if len(row):
        if LR_TUNING in (row["provenance"].iloc[0] or {}):
            raise InputError(
                f"{name} tuned a learning rate and is no measurement of its variant; name a trial that counts."
            )
        table = variants(frames, str(row["search_id"].iloc[0]), everything=True)
        arm = _of_variant(frames, table, str(row["variant"].iloc[0]), name)
        return replace(arm, trial=name, named=row[row["status"].isin(COMPLETE)])
    if name in set(frames.searches["id"]):
        return _best_of(frames, name)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in set(frames.searches["id"]):
        return _by_keys(frames, prefix, rest, name)
    if (trial := _TRIAL.fullmatch(name)) is not None:
        siblings = [str(each) for each in trials.loc[trials["search_id"] == trial[1], "id"]]
        raise InputError(unknown("trial", name, siblings or trials["id"].astype(str)))
    if search is not None:
        frames.search(search)
        return _by_keys(frames, search, name, name)
    if _HASH.fullmatch(name):
        found = trials[trials["variant"].astype(str).str.startswith(name)]
        holders = list(dict.fromkeys(found["search_id"].astype(str)))
        if len(holders) == 1:
            return _by_keys(frames, holders[0], name, name)
        if holders:
            raise InputError(
                f"The variant {name!r} is in {len(holders)} searches; say which, as {holders[0]}:{name} or --search."
            )
    if frames.searches.empty:
        raise InputError(unknown("trial, variant or search", name, []))
    return _by_keys(frames, frames.latest(), name, name)


def _best_of(frames: Frames, search: str) -> Arm:
    table = variants(frames, search, everything=True)
    ranked = table.rows[table.rows["rank"].notna()] if len(table.rows) else table.rows
    if not len(ranked):
        raise InputError(f"The search {search!r} has no ranked variant yet; name one of its trials.")
    return replace(_of_variant(frames, table, str(ranked["variant"].iloc[0]), search), chosen=True)


def _by_keys(frames: Frames, search: str, words: str, name: str) -> Arm:
    """The one variant of a search whose hash begins so, or whose keys in the table hold all of these words."""
    table = variants(frames, search, everything=True)
    labels = {str(row["variant"]): _label(row, table) for row in table.rows.to_dict("records")}
    found = [variant for variant in labels if _HASH.fullmatch(words) and variant.startswith(words)]
    wanted = set(words.split())
    found = found or [variant for variant, label in labels.items() if label == words]
    found = found or [variant for variant, label in labels.items() if wanted and wanted <= set(label.split())]
    if not found:
        everything = [*frames.trials["id"].astype(str), *frames.searches["id"].astype(str), *labels.values()]
        raise InputError(
            f"{unknown('trial, variant or search', name, everything)} Variants were looked up in {search}; "
            "--search names another."
        )
    if len(found) > 1:
        shown = "; ".join(labels[variant] for variant in found[:4])
        raise InputError(f"{name!r} must name one variant of {search}, but fits {len(found)}: {shown}; say more keys.")
    return _of_variant(frames, table, found[0], name)


def _of_variant(frames: Frames, table: Table, variant: str, name: str) -> Arm:
    row = table.rows[table.rows["variant"] == variant].iloc[0]
    trials = with_protocol(frames.trials_of(table.searches[0]))
    own = measured(trials[trials["variant"] == variant])
    ended = own[own["status"].isin(COMPLETE)]
    return Arm(
        name=name,
        search=table.searches[0],
        variant=variant,
        label=_label(row.to_dict(), table),
        trials=ended,
        trial=None,
        named=ended,
        unfinished="" if row["complete"] else str(row["status"]),
        chosen=_picked(row, frames.search(table.searches[0])["settings"]),
    )


def _picked(row: pd.Series, settings: Mapping[str, Any]) -> bool:
    """Whether the variant is the best, or not told apart from it, of many that were sampled and ranked by one run each."""
    sampled = settings.get("grid") is None and not settings.get("imported") and not settings.get("bundle")
    ranked = sampled and not missing(row["rank"])
    return bool(ranked and (row["rank"] == 1 or (not missing(row["top"]) and row["top"])))


def _label(row: Mapping[Any, Any], table: Table) -> str:
    return plain(keys_text(row, table.telling))
