"""A picture of where an epoch's time goes, from the rows of `python -m benchmarks profile`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite import PARTS

COLOURS = ("#0072B2", "#56B4E9", "#CC79A7", "#D55E00", "#BBBBBB", "#E69F00", "#009E73", "#F0E442")
"""Okabe and Ito's, which colour-blind readers tell apart; one for each of `PARTS`."""


def draw_profile(rows: Sequence[dict[str, Any]], file: Path, title: str) -> None:
    """Write one bar, cut into the parts of an epoch, each with its milliseconds."""
    from matplotlib.figure import Figure

    seconds = {row["what"]: max(0.0, float(row["epoch_seconds"])) for row in rows}
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    axes = figure.subplots()
    left = 0.0
    for part, colour in zip(PARTS, COLOURS, strict=True):
        if part not in seconds:
            continue
        took = 1000 * seconds[part]
        axes.barh(0, took, left=left, color=colour, edgecolor="white", label=f"{part}: {took:.0f} ms")
        left += took
    axes.set(xlabel="milliseconds of an epoch", yticks=[], xlim=(0, left), title=title)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    figure.savefig(file, dpi=150)
