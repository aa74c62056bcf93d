"""How much of the spread in accuracy the values of each key explain: bars, one row a key, one colour a method."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from results.plots.keys import short_name
from results.plots.style import COLOURS
from results.text import missing

METHODS = {"ped_anova": "PED-ANOVA:\nwhat sets the best apart", "fanova": "fANOVA:\nwhat moves the whole"}
"""Columns of shares, and how the legend says them; black and white print tells them apart by the hatch."""


def importance_bars(shares: pd.DataFrame, ax: Axes) -> None:
    """Horizontal bars of `ped_anova` and `fanova`, each a share of 1 over the keys, the most important key on top.

    Args:
        shares: a row a key, with `key` and a column a method; missing where a method gave nothing.
    """
    methods = [name for name in METHODS if name in shares and not shares[name].map(missing).all()]
    ordered = shares.assign(mean=shares[methods].mean(axis=1)).sort_values("mean", kind="stable")
    height = 0.8 / max(1, len(methods))
    for number, name in enumerate(methods):
        places = [row + 0.4 - height * (number + 0.5) for row in range(len(ordered))]
        ax.barh(
            places, list(ordered[name].fillna(0.0)), height=height, color=COLOURS[number], edgecolor="white",
            hatch="///" if number else None, label=METHODS[name],
        )  # fmt: skip
    ax.set_yticks(range(len(ordered)), [short_name(str(key)) for key in ordered["key"]])
    ax.set_xlim(0, 1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9)
