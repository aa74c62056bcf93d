"""The ranked table of a search, or of several: one row a variant, honest about what ran and what a few seeds can show.

A variant is a dictionary without its seed. It has a mean, and with it a rank, only where all of its planned seeds ran to the
end; one that diverged on one seed is shown with that word and without a rank. Trials that the scheduler stopped stand below,
by how far they came: their accuracies belong to other epochs. Variants of different protocols (data, epochs, batch,
augmentation) are ranked in groups of their own, and so are those of different matches; imported ones, whose accuracy was
chosen on the test images, are not ranked at all.

Ranks come in groups, too: all rows that a test does not tell apart from the best share its rank (`top`), if they are the
first ones (`results.ranks`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.confirmed import confirmed_notes, with_searched
from results.frames import TRIAL_COLUMNS, Frames
from results.front import cost_of, front
from results.matches import MATCH, by_match
from results.protocol import (
    CHECKSUM,
    IMPORTED,
    differing,
    in_words,
    of_protocol,
    require_one_protocol,
    with_protocol,
)
from results.ranks import spans
from results.remarks import Spread, is_screening, named_groups, remarks
from results.statistics import against_best, t_interval
from results.text import missing
from results.tuned import given_variants, tuning_notes, untuned_notes

COMPLETE = frozenset({"finished", "plateau"})
"""Statuses of a trial that ran to its end."""
STOPPED_SHOWN = 5
COUNTS = ("parameters", "neurons_used", "macs", "macs_conditional")
LEVEL = 0.05
"""Below it, a corrected p tells two variants apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Variants of one or more searches, and what must be said beside them."""

    rows: pd.DataFrame
    """rank (missing where there is none), top (not distinguishable from the best of its group; missing where no seeds
    show a spread), p_best (the corrected p of that), group, search, variant, the keys that vary, seeds, planned, val_acc,
    interval (half the width of its 95 % t interval), deviation, best_val_acc, test_acc, imported (the format of the file
    that the row came from), given (the hash of the variant before its rate was tuned, where it was), best_test_acc and
    best_test_interval (of imported rows), parameters, neurons_used, macs, macs_conditional,
    latency_seconds, epochs_run, gpu_seconds, wall_seconds, status; of a matched comparison match, too; of a search for
    two objectives `front`; of a confirmation `searched_val_acc`, what the search had found for the variant."""
    varying: list[str]
    """Keys of the trial's dictionary in which variants differ; of a single variant its kind and what was named of that."""
    common: dict[str, Any]
    """Keys that all variants share."""
    by_kind: dict[str, Any]
    """Of the varying keys, those of a feed-forward kind that all its variants share, where it has several; of a kind with
    one variant those that no grid names, for defaults tell nothing apart."""
    notes: list[str]
    """Plain sentences about what the numbers can and cannot show."""
    hidden: int
    """Stopped variants that are left out."""
    is_comparison: bool
    is_screening: bool
    """Whether a ranked variant has three seeds or fewer."""
    searches: list[str]
    spans: dict[int, int]
    """Of the ranks, as `results.ranks.spans` gives them of all rows: they stay where rows are left out."""
    protocols: list[str]
    """Where there are several groups, in what the protocol of each differs from the others'."""

    @property
    def telling(self) -> list[str]:
        """The keys by which a row is told from others: those that vary, but for what a whole kind shares."""
        return [key for key in self.varying if key not in self.by_kind]


def variants(frames: Frames, search: str | Sequence[str], *, everything: bool = False, mix: bool = False) -> Table:
    """The table of one search or of several; `mix` lets several differ in their protocol.

    Raises:
        InputError: an unknown search; several of different protocols without `mix`.
    """
    names = list(dict.fromkeys([search] if isinstance(search, str) else search))
    settings = {name: frames.search(name)["settings"] for name in names}
    trials = frames.trials_of(*names)
    is_comparison = any(values.get("grid") is not None for values in settings.values())
    keys = [key for key in trials.columns if key not in TRIAL_COLUMNS]
    differing_keys = [key for key in keys if _varies(trials[key])]
    varying = differing_keys or _named_of_one(trials, settings)
    common = {key: trials[key].iloc[0] for key in keys if key not in varying} if len(trials) else {}

    trials = with_protocol(trials).sort_values("search_id", key=lambda ids: ids.map(names.index), kind="stable")
    if len(names) > 1 and not mix:
        require_one_protocol(trials)
    standing = by_match(trials, settings)
    under = ["search_id", "variant", CHECKSUM, *([MATCH] if MATCH in standing else [])]
    rows = [
        {
            **_row(group, _planned(group, settings[group["search_id"].iloc[0]])),
            **{key: group[key].iloc[0] for key in varying},
        }
        for _, group in standing.groupby(under, sort=False)
    ]
    table = pd.DataFrame(rows)
    hidden = 0
    spreads: dict[tuple[str, ...], Spread] = {}
    protocols: list[str] = []
    if len(table):
        kinds = list(zip(table["protocol"], table[MATCH] if MATCH in table else [""] * len(table), strict=True))
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds), start=1)}
        table = table.assign(group=[numbers[kind] for kind in kinds])
        spreads = {protocol: spread_of(trials, protocol) for protocol in dict.fromkeys(table["protocol"])}
        protocols = _protocols(table)
        table = with_searched(_ranked(table, spreads), frames, settings)
        if (cost := cost_of(settings)) is not None:
            table = table.assign(front=front(table, cost))
    if not everything and len(table):
        # stopped ones are many in a search, and each says little
        halted = table.index[table["status"] == "stopped"]
        hidden = max(0, len(halted) - STOPPED_SHOWN)
        table = table.drop(index=halted[STOPPED_SHOWN:])
    named = _named_in_grids(settings)
    by_kind = {key: value for key in differing_keys if (value := _shared_by_kind(trials, key, named)) is not None}
    return Table(
        rows=table,
        varying=varying,
        common=common,
        by_kind=by_kind,
        notes=_notes(
            frames,
            table,
            trials,
            spreads,
            [key for key in varying if key not in by_kind],
            settings,
            is_comparison=is_comparison,
        ),
        hidden=hidden,
        is_comparison=is_comparison,
        is_screening=is_screening(table),
        searches=names,
        spans=spans(table) if len(table) else {},
        protocols=protocols,
    )


def _notes(
    frames: Frames,
    table: pd.DataFrame,
    trials: pd.DataFrame,
    spreads: dict[tuple[str, ...], Spread],
    varying: list[str],
    settings: dict[str, dict[str, Any]],
    *,
    is_comparison: bool,
) -> list[str]:
    """What a confirmation shows, how rates were tuned, what the numbers can show, and what was not tuned."""
    first, last = [], []
    for name, values in settings.items():
        own = table[table["search"] == name] if len(table) else table
        confirms = values.get("confirms")
        said = confirmed_notes(confirms, own, table, varying) if confirms and len(own) else []
        said += tuning_notes(values, frames.trials[frames.trials["search_id"] == name], own, varying)
        of = f"{name}: " if len(settings) > 1 else ""
        first += [f"{of}{note}" for note in said]
        last += [f"{of}{note}" for note in untuned_notes(values, own, varying)]
    if first and not len(table):
        return first
    return [*first, *remarks(table, trials, settings, spreads, is_comparison=is_comparison), *last]


def spread_of(trials: pd.DataFrame, protocol: tuple[str, ...]) -> Spread:
    """The standard deviation between seeds, pooled over the variants of the trials that have this protocol."""
    return spread_among(of_protocol(trials, protocol))


def spread_among(trials: pd.DataFrame) -> Spread:
    """The same of trials of one protocol: those that ran to their end, a run that stands in several searches once."""
    ended = once(trials[trials["status"].isin(COMPLETE) & trials["val_acc"].notna()])
    groups = [
        [float(value) for value in measured(group)["val_acc"]]
        for _, group in ended.groupby(["search_id", "variant"], sort=False)
    ]
    return Spread.over(groups)


def measured(group: pd.DataFrame) -> pd.DataFrame:
    """A variant's trials, each a measurement: the same seed twice is not a second one.

    Of the same seed the last run that came to its end counts, or the last one where none did. Imported trials all count:
    their seeds fixed nothing, and some have none.
    """
    if (group[IMPORTED] != "").all():
        return group
    ends = group["status"].isin(COMPLETE)
    kept = pd.concat([group[~ends], group[ends]]).drop_duplicates("seed", keep="last").index
    return group[group.index.isin(kept)]


def runs(trials: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Of each trial what makes it one run with another: keys, seed, data, and every number of its end to the last bit.

    Training is deterministic on one machine, so a second search with the same variant and seed repeats the first one's run
    and is no further draw. Where the numbers differ, by another machine or code, it is one.
    """
    compared = ["variant", "seed", CHECKSUM, "epochs_run", "train_loss", "val_loss", "val_acc", "test_acc"]
    rows = trials[compared].itertuples(index=False)
    return [tuple(None if missing(value) else value for value in row) for row in rows]


def once(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials, a run that stands in several searches once. Imported ones all count, as in `measured`."""
    again = pd.Series(runs(trials), index=trials.index, dtype=object).duplicated()
    return trials[~again | (trials[IMPORTED] != "")]


def _planned(group: pd.DataFrame, settings: dict[str, Any]) -> int:
    """How many seeds the variant is to be trained with; of imported ones no more is known than what there is."""
    if group[IMPORTED].iloc[0]:
        return len(group)
    return len(settings.get("seeds") or [0]) if settings.get("grid") is not None else 1


def _varies(column: pd.Series) -> bool:
    return column.map(lambda value: "" if missing(value) else repr(value)).nunique() > 1


def _named_of_one(trials: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a single variant is called by, in place of its hash: its kind, and the kind's keys that its experiment names."""
    if trials["variant"].nunique() != 1 or "ffn" not in trials:
        return []
    named = {
        key
        for values in settings.values()
        for given in (values.get("base") or {}, values.get("fixed") or {}, *(values.get("grid") or ()))
        for key in given
    }
    kind = trials["ffn"].iloc[0]
    return ["ffn", *(key for key in map(str, trials) if key.startswith(f"ffn.{kind}.") and key in named)]


def _named_in_grids(settings: Mapping[str, Mapping[str, Any]]) -> set[str] | None:
    """The keys that the variants of comparisons name; none where one of the searches is no comparison."""
    grids = [values.get("grid") for values in settings.values()]
    if any(grid is None for grid in grids):
        return None
    return {key for grid in grids for variant in grid or () for key in variant}


def _shared_by_kind(trials: pd.DataFrame, key: str, named: set[str] | None) -> Any:
    """The one value of a kind's key in its variants; None where there is no such, or where it tells the only one apart."""
    own = trials[~trials[key].map(missing)]
    if not key.startswith("ffn.") or _varies(own[key]):
        return None
    if own["variant"].nunique() < 2 and (named is None or key in named):
        return None
    return own[key].iloc[0]


def _row(group: pd.DataFrame, planned: int) -> dict[str, Any]:
    """One variant.

    While seeds are missing, one trial shows its own values and several show none: a mean over those that survived would look
    better than the variant is.
    """
    group = measured(group)
    ended = group[group["status"].isin(COMPLETE)]
    complete = len(ended) >= planned
    told = ended if complete else group if len(group) == 1 else group.iloc[:0]
    found = [float(value) for value in ended["best_test_acc"].dropna()]
    known = int(bool(group[IMPORTED].iloc[0]))  # seconds that no imported trial says are unknown, not 0
    return {
        "search": group["search_id"].iloc[0],
        "variant": group["variant"].iloc[0],
        "given": given_variants(group).iloc[0],
        "trials": [str(name) for name in group["id"]],
        "protocol": group["protocol"].iloc[0],
        **({MATCH: group[MATCH].iloc[0]} if MATCH in group else {}),
        "imported": group[IMPORTED].iloc[0],
        "seeds": len(ended),
        "planned": planned,
        "complete": complete,
        "values": [float(value) for value in ended["val_acc"].dropna()] if complete else [],
        "val_acc": float(told["val_acc"].mean()),
        "interval": t_interval([float(value) for value in ended["val_acc"].dropna()]) if complete else math.nan,
        "deviation": float(ended["val_acc"].std()) if complete else math.nan,
        "best_val_acc": float(told["best_val_acc"].mean()),
        "test_acc": float(ended["test_acc"].mean()) if complete else math.nan,
        "best_test_acc": sum(found) / len(found) if found else math.nan,
        "best_test_interval": t_interval(found),
        "parameters": group["parameters"].iloc[0],
        "neurons_used": group["neurons_used"].iloc[0],
        "macs": group["macs"].iloc[0],
        "macs_conditional": group["macs_conditional"].iloc[0],
        "latency_seconds": group["latency_seconds"].iloc[0],
        "epochs_run": int(group["epochs_run"].max()),
        "gpu_seconds": float(group["gpu_seconds"].sum(min_count=known)),
        "wall_seconds": float(group["wall_seconds"].sum(min_count=known)),
        "status": _status(Counter(group["status"]), planned),
    }


def _status(counts: Counter[str], planned: int) -> str:
    """One word where all seeds agree, else how many of the planned came to what."""
    if sum(counts.values()) == planned and len(counts) == 1:
        return next(iter(counts))
    absent = planned - sum(counts.values())
    parts = [f"{count} of {planned} {status}" for status, count in sorted(counts.items()) if status not in COMPLETE]
    done = sum(count for status, count in counts.items() if status in COMPLETE)
    if done:
        parts.insert(0, f"{done} of {planned} finished")
    if absent > 0:
        parts.append(f"{absent} to come")
    return ", ".join(parts)


def _protocols(table: pd.DataFrame) -> list[str]:
    """A line for each protocol, where there are several: its groups, its searches, and in what it differs."""
    parts = differing(list(dict.fromkeys(table["protocol"])))
    if not parts:
        return []
    lines = []
    for protocol in dict.fromkeys(table["protocol"]):
        rows = of_protocol(table, protocol)
        searches = ", ".join(dict.fromkeys(rows["search"]))
        lines.append(f"{named_groups(rows['group'])} ({searches}): {in_words(protocol, parts)}")
    return lines


def _ranked(table: pd.DataFrame, spreads: dict[tuple[str, ...], Spread]) -> pd.DataFrame:
    """Complete variants by validation accuracy at the last epoch, ranked within their group; then the others."""
    table = table.astype({name: "Int64" for name in COUNTS if table[name].notna().any()}).assign(
        rank=pd.array([pd.NA] * len(table), dtype="Int64"),
        top=pd.array([pd.NA] * len(table), dtype="boolean"),
        p_best=math.nan,
    )
    table = table.sort_values(
        ["group", "complete", "seeds", "epochs_run", "val_acc"],
        ascending=[True, False, False, False, False],
        kind="stable",
    )
    done = table["complete"]
    in_order = table[done].sort_values(
        ["group", "val_acc", "best_test_acc"], ascending=[True, False, False], kind="stable"
    )
    ranks = in_order.groupby("group")["val_acc"].rank(ascending=False, method="min")  # equals share a rank
    table.loc[in_order.index, "rank"] = ranks.astype("Int64")
    for _, group in in_order[in_order["val_acc"].notna()].groupby("group"):
        spread = spreads[group["protocol"].iloc[0]]
        if spread.freedom:
            # the same runs under two searches are one variant, with no difference to be tested
            keys = [(name, *values) for name, values in zip(group["variant"], group["values"], strict=True)]
            distinct = dict(zip(keys, group["values"], strict=True))
            found = against_best(list(distinct.values()), spread.deviation, spread.freedom)
            of_key = dict(zip(distinct, found, strict=True))
            p = [of_key[key] for key in keys]
            table.loc[group.index, "p_best"] = p
            table.loc[group.index, "top"] = pd.array([value >= LEVEL for value in p], dtype="boolean")
    order = list(in_order.index) + list(table[~done].index)
    result = table.loc[order].sort_values("group", kind="stable") if table["group"].nunique() > 1 else table.loc[order]
    first = ["rank", "top", "p_best", "group"]
    return result[[*first, *(name for name in result.columns if name not in first)]].reset_index(drop=True)
