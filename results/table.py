"""The ranked table of a search: one row a variant, honest about what ran and what a few seeds can show.

A variant is a dictionary without its seed. It has a mean, and with it a rank, only where all of its planned seeds ran to the
end; one that diverged on one seed is shown with that word and without a rank. Trials that the scheduler stopped stand below,
by how far they came: their accuracies belong to other epochs. Variants of different protocols (data, epochs, batch,
augmentation) are ranked in groups of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.frames import TRIAL_COLUMNS, Frames
from results.statistics import accuracy_error, detectable_difference, pooled_deviation

COMPLETE = frozenset({"finished", "plateau"})
"""Statuses of a trial that ran to its end."""
PROTOCOL = ("data", "epochs", "batch_size", "augment")
"""Keys in which rows of one ranking must agree."""
CHECKSUM = "checksum of the data"
"""A column that this module adds to the trials: the same name may have come to mean other images."""
STOPPED_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A search's variants, and what must be said beside them."""

    rows: pd.DataFrame
    """rank (missing where there is none), group, variant, the keys that vary, seeds, planned, val_acc, deviation,
    best_val_acc, test_acc, parameters, neurons_used, macs, macs_conditional, epochs, seconds, status; with two objectives
    also `front`: whether no variant of its group is better in one and at least as good in the other."""
    varying: list[str]
    """Keys of the trial's dictionary in which variants differ."""
    common: dict[str, Any]
    """Keys that all variants share."""
    notes: list[str]
    """Plain sentences about what the numbers can and cannot show."""
    hidden: int
    """Stopped variants that are left out."""
    is_comparison: bool


def variants(frames: Frames, search_id: str, *, everything: bool = False) -> Table:
    """The table of one search. Raises InputError for an unknown one."""
    search = frames.search(search_id)
    settings = search["settings"]
    trials = frames.trials_of(search_id)
    is_comparison = settings.get("grid") is not None
    planned = len(settings.get("seeds") or [0]) if is_comparison else 1
    keys = [key for key in trials.columns if key not in TRIAL_COLUMNS]
    varying = [key for key in keys if _varies(trials[key])]
    common = {key: trials[key].iloc[0] for key in keys if key not in varying} if len(trials) else {}

    trials = trials.assign(**{CHECKSUM: _checksums(trials)})
    rows = [
        {**_row(group, planned), **{key: group[key].iloc[0] for key in varying}}
        for _, group in trials.groupby(["variant", CHECKSUM], sort=False)
    ]
    table = pd.DataFrame(rows)
    if len(table):
        table = _ranked(table)
        objectives = settings.get("objectives") or []
        if len(objectives) == 2:
            table = table.assign(front=_front(table, cost=objectives[1]))
    hidden = 0
    if not everything and len(table):
        # stopped ones are many in a search, and each says little
        halted = table.index[table["status"] == "stopped"]
        hidden = max(0, len(halted) - STOPPED_SHOWN)
        table = table.drop(index=halted[STOPPED_SHOWN:])
    return Table(
        rows=table,
        varying=varying,
        common=common,
        notes=_notes(table, trials, settings, is_comparison),
        hidden=hidden,
        is_comparison=is_comparison,
    )


def _varies(column: pd.Series) -> bool:
    return column.map(lambda value: "" if _missing(value) else repr(value)).nunique() > 1


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _row(group: pd.DataFrame, planned: int) -> dict[str, Any]:
    """One variant. Seeds count once: the same seed twice is not a second measurement.

    While seeds are missing, one trial shows its own values and several show none: a mean over those that survived would look
    better than the variant is.
    """
    group = group.drop_duplicates("seed", keep="last")
    ended = group[group["status"].isin(COMPLETE)]
    complete = len(ended) >= planned
    told = ended if complete else group if len(group) == 1 else group.iloc[:0]
    return {
        "variant": group["variant"].iloc[0],
        "trials": [str(name) for name in group["id"]],
        "protocol": tuple(str(group[key].iloc[0]) for key in (*PROTOCOL, CHECKSUM) if key in group),
        "seeds": len(ended),
        "planned": planned,
        "complete": complete,
        "val_acc": float(told["val_acc"].mean()),
        "deviation": float(ended["val_acc"].std()) if complete else math.nan,
        "best_val_acc": float(told["best_val_acc"].mean()),
        "test_acc": float(ended["test_acc"].mean()) if complete else math.nan,
        "parameters": group["parameters"].iloc[0],
        "neurons_used": group["neurons_used"].iloc[0],
        "macs": group["macs"].iloc[0],
        "macs_conditional": group["macs_conditional"].iloc[0],
        "epochs_run": int(group["epochs_run"].max()),
        "gpu_seconds": float(group["gpu_seconds"].sum()),
        "wall_seconds": float(group["wall_seconds"].sum()),
        "status": _status(Counter(group["status"]), planned),
    }


def _checksums(trials: pd.DataFrame) -> pd.Series:
    """Each trial's data checksum; one that has not begun, and so recorded none, goes with the others of its data set."""
    found = trials["provenance"].map(lambda provenance: (provenance or {}).get("data_checksum"))
    data = trials["data"].astype(str) if "data" in trials else pd.Series("", index=trials.index)
    known = found.groupby(data).transform(lambda checksums: checksums.ffill().bfill())
    return known.fillna("").astype(str)


def _status(counts: Counter[str], planned: int) -> str:
    """One word where all seeds agree, else how many of the planned came to what."""
    if sum(counts.values()) == planned and len(counts) == 1:
        return next(iter(counts))
    missing = planned - sum(counts.values())
    parts = [f"{count} of {planned} {status}" for status, count in sorted(counts.items()) if status not in COMPLETE]
    done = sum(count for status, count in counts.items() if status in COMPLETE)
    if done:
        parts.insert(0, f"{done} of {planned} finished")
    if missing > 0:
        parts.append(f"{missing} to come")
    return ", ".join(parts)


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Complete variants by validation accuracy at the last epoch, ranked within their protocol; then the others."""
    groups = {protocol: number for number, protocol in enumerate(dict.fromkeys(table["protocol"]), start=1)}
    table = table.assign(group=table["protocol"].map(groups), rank=pd.array([pd.NA] * len(table), dtype="Int64"))
    table = table.sort_values(
        ["group", "complete", "seeds", "epochs_run", "val_acc"],
        ascending=[True, False, False, False, False],
        kind="stable",
    )
    done = table["complete"]
    in_order = table[done].sort_values(["group", "val_acc"], ascending=[True, False], kind="stable")
    ranks = in_order.groupby("group")["val_acc"].rank(ascending=False, method="min")  # equals share a rank
    table.loc[in_order.index, "rank"] = ranks.astype("Int64")
    order = list(in_order.index) + list(table[~done].index)
    result = table.loc[order].sort_values("group", kind="stable") if len(groups) > 1 else table.loc[order]
    return result.reset_index(drop=True)


def _front(table: pd.DataFrame, cost: str) -> pd.Series:
    """The Pareto front of accuracy (high) and cost (low) among the complete variants of each group."""
    front = pd.Series(False, index=table.index)
    for _, group in table[table["complete"] & table[cost].notna()].groupby("group"):
        best = -math.inf
        # from the cheapest up: on the front where more accurate than all that cost less, or as good as its equal in cost
        for _, equals in group.groupby(cost, sort=True):
            highest = equals["val_acc"].max()
            if highest > best:
                front[equals.index[equals["val_acc"] == highest]] = True
                best = highest
    return front


def _notes(table: pd.DataFrame, trials: pd.DataFrame, settings: dict[str, Any], is_comparison: bool) -> list[str]:
    """What these numbers can show, in sentences."""
    notes: list[str] = []
    if not len(table):
        return ["No trial has been started yet."]
    complete = trials[trials["status"].isin(COMPLETE)].drop_duplicates(["variant", CHECKSUM, "seed"], keep="last")
    groups = [list(map(float, group["val_acc"])) for _, group in complete.groupby(["variant", CHECKSUM])]
    if is_comparison:
        deviation, freedom = pooled_deviation(groups)
        seeds = len(settings.get("seeds") or [])
        if freedom:
            gap = detectable_difference(deviation, seeds)
            notes.append(
                f"Between seeds the standard deviation is {100 * deviation:.2f} points (pooled, {freedom} degrees of "
                f"freedom). With {seeds} seeds a variant, a difference of {100 * gap:.2f} points is found with 80 % "
                "power; smaller ones are not resolved by this table."
            )
        else:
            notes.append("One seed a variant shows no spread: no difference in this table is resolved. Add --seeds.")
    else:
        ranked = table[table["rank"].notna()]
        if len(ranked):
            notes.append(
                "The first row is searched, unconfirmed: the best of many single runs looks better than it is. Compare "
                "it with fresh seeds before you believe it."
            )
    images = settings.get("val_images")
    known = table["val_acc"].dropna()
    if images and len(known):
        error = accuracy_error(float(known.iloc[0]), int(images))
        notes.append(
            f"One accuracy on {int(images):,} validation images has a standard error of {100 * error:.2f} points."
        )
    if not settings.get("grid") and settings.get("scheduler") != "none" and (table["status"] == "stopped").any():
        notes.append("Stopped variants are ordered by the epochs that they reached; they have no rank.")
    if "front" in table:
        notes.append(
            f"The front (*): complete variants that no other beats in accuracy or in {settings['objectives'][1]} without "
            "losing in the other. One seed each: a neighbour within the error above may belong there, too."
        )
    if len(set(table["group"])) > 1:
        notes.append("Variants of different data, epochs, batch or augmentation are ranked in groups of their own.")
    return notes
