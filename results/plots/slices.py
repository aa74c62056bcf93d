"""Slices: validation accuracy against one searched key, whatever the others were."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from results.plots.keys import Scale, having, short_name
from results.plots.style import accuracy_axis, families

A_CHARACTER = 0.035
"""The share of a panel's width that a character of a tick's name takes."""


def key_slice(
    rows: pd.DataFrame,
    key: str,
    ax: Axes,
    *,
    styles: Mapping[str, tuple[str, str]],
    stopped: pd.DataFrame | None = None,
) -> None:
    """One point a variant that has the key: its mean over seeds, without an interval, which would hide its neighbours.

    Crosses in grey are of variants that the scheduler stopped: their accuracies belong to earlier epochs.

    Args:
        rows: variants that ran to their end, as `results.table.variants` gives them.
        styles: colour and marker of each family (`results.plots.style.families`) of the rows.
    """
    others = rows.iloc[:0] if stopped is None else stopped
    with_key, without = having(rows, key), having(others, key)
    scale = Scale.of(pd.concat([with_key[key], without[key]]) if len(without) else with_key[key])
    ax.scatter(
        [scale.coordinate(value) for value in without[key]], list(without["val_acc"]), marker="x", s=18, linewidths=0.9,
        color="0.65", zorder=1, label="_stopped",
    )  # fmt: skip
    for family, group in with_key.groupby(families(rows).loc[with_key.index]):  # of all rows, as the styles are
        colour, marker = styles[str(family)]
        ax.scatter(
            [scale.coordinate(value) for value in group[key]], list(group["val_acc"]), color=colour, marker=marker, s=26,
            alpha=0.85, zorder=2, label=str(family),
        )  # fmt: skip
    scale.dress(ax.xaxis, is_x=True, character=A_CHARACTER)
    ax.set_xlabel(short_name(key))
    accuracy_axis(ax, label=False)
