"""Parallel coordinates: one axis a searched key, one line a variant, darker where it is more accurate.

Inselberg 1985, https://doi.org/10.1007/BF01898350.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from results.plots.keys import Scale, short_name
from results.plots.style import ACCURACY, accuracy_colours
from results.text import missing

ABSENT = -0.14
"""Where a variant stands on the axis of a key that it does not have."""


def parallel(rows: pd.DataFrame, keys: Sequence[str], ax: Axes, *, stopped: pd.DataFrame | None = None) -> None:
    """Draw the lines of `rows` over those of `stopped`, which are thin and grey; the last axis is the accuracy.

    Every axis runs from its least value (0) to its greatest (1): the accuracy linearly, a key as `Scale` finds.
    Kinds have keys of their own: a line passes below the axis of a key that its variant lacks.

    Args:
        rows: variants that ran to their end, with `val_acc` and the keys, as `results.table.variants` gives them.
        keys: at least one, each with a value in some row.
    """
    others = rows.iloc[:0] if stopped is None else stopped
    every = pd.concat([rows, others]) if len(others) else rows
    scales = [Scale.of(every[key]) for key in keys]
    accuracy = replace(Scale.of(rows["val_acc"]), kind="linear")  # one run at chance would make it a logarithm
    norm = accuracy_colours(list(rows["val_acc"]))
    is_lacking = any(every[key].map(missing).any() for key in keys)
    places = range(len(keys))
    for row in others.to_dict("records"):
        ax.plot(
            places, _heights(row, keys, scales), color="0.75", linewidth=0.7, linestyle=(0, (3, 2)), zorder=1,
            label="_stopped",
        )  # fmt: skip
    for row in rows.sort_values("val_acc").to_dict("records"):  # the best on top
        heights = [*_heights(row, keys, scales), accuracy.share(row["val_acc"])]
        ax.plot(
            range(len(keys) + 1),
            heights,
            color=ACCURACY(norm(row["val_acc"])),
            linewidth=1.5,
            zorder=2,
            label="_variant",
        )
    for place, scale in enumerate([*scales, accuracy]):
        ax.axvline(place, color="0.2", linewidth=0.8, ymin=0, ymax=1, zorder=3)
        for value, text in scale.ticks():
            told = f"{100 * value:.3g}" if place == len(keys) else text
            ax.annotate(
                told, (place, scale.share(value)), xytext=(3, 0), textcoords="offset points", fontsize=7, va="center",
                zorder=4, bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
            )  # fmt: skip
    if is_lacking:
        ax.set_yticks([ABSENT], ["no such key"], fontsize=7, color="0.4")
        ax.tick_params(axis="y", length=0)
    else:
        ax.set_yticks([])
    names = [
        short_name(key) + ("\n(log)" if scale.kind == "log" else "") for key, scale in zip(keys, scales, strict=True)
    ]
    ax.set_xticks(range(len(keys) + 1), [*names, "validation\naccuracy (%)"], fontsize=8)
    if len(keys) > 6:
        ax.tick_params(axis="x", labelrotation=20)
    ax.set_xlim(-0.15, len(keys) + 0.35)
    ax.set_ylim(ABSENT - 0.06 if is_lacking else -0.06, 1.06)
    ax.spines[:].set_visible(False)


def _heights(row: Mapping[Any, Any], keys: Sequence[str], scales: Sequence[Scale]) -> list[float]:
    return [ABSENT if missing(row[key]) else scale.share(row[key]) for key, scale in zip(keys, scales, strict=True)]
