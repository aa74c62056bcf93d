"""Which ranks of a group no test tells apart from its best, and how they are written in cells and in remarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from results.text import missing

ALIKE = "~"
"""Beside the rank of a row that no test tells apart from the best, though one tells a row above it apart."""


def is_alike(row: Mapping[Any, Any]) -> bool:
    """Whether a row is the best of its group, or a test was made and does not tell it apart from that."""
    return not missing(row["rank"]) and bool(row["rank"] == 1 or (not missing(row["top"]) and row["top"]))


def spans(rows: pd.DataFrame) -> dict[int, int]:
    """For each group the last of its first ranks that no test tells apart from the best.

    A group has none where no test was made, or where its rows that are not told apart are not the first ones: a row of
    few seeds may be among them below one of many seeds that is told apart.
    """
    found = {}
    for group, own in rows[rows["rank"].notna()].groupby("group"):
        last = own.loc[own["top"].fillna(False), "rank"].max()
        if not missing(last) and own.loc[own["rank"] <= last, "top"].all():
            found[int(str(group))] = int(last)
    return found


def rank_text(row: Mapping[Any, Any], spans: Mapping[int, int]) -> str:
    """A number, the whole span of the ranks that no test tells apart from the best, or `ALIKE` beside the number."""
    if missing(row["rank"]):
        return ""
    rank, last = int(row["rank"]), spans.get(int(row["group"]))
    if not is_alike(row) or last == 1:
        return str(rank)
    if last is None:
        return str(rank) if rank == 1 else f"{rank}{ALIKE}"
    return f"1-{last}"


def listed(ranks: Sequence[int]) -> str:
    """Ranks in words, three or more neighbours as a span: `1-4, 6 and 9`."""
    runs: list[list[int]] = []
    for rank in sorted(set(ranks)):
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    words = [
        word for run in runs for word in ([f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(rank) for rank in run])
    ]
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
