"""A heat map of trees of neurons: depth against how many stand side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from results.plots.keys import having
from results.plots.style import ACCURACY, is_dark
from results.text import missing


def tree_kinds(rows: pd.DataFrame) -> list[str]:
    """The feed-forward kinds among these rows whose trees have two depths and two numbers of trees or more."""
    found = []
    for kind in sorted(
        {key.split(".")[1] for key in rows.columns if key.startswith("ffn.") and key.endswith(".depth")}
    ):
        trees = of_kind(rows, kind)
        if len(trees) and trees["depth"].nunique() > 1 and trees["trees"].nunique() > 1:
            found.append(kind)
    return found


def of_kind(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of trees of one kind, with `depth` and `trees` as whole numbers; none where the rows lack one of the keys."""
    depth, trees = f"ffn.{kind}.depth", f"ffn.{kind}.trees"
    if depth not in rows or trees not in rows:
        return rows.iloc[:0].assign(depth=0, trees=0)
    own = having(rows, depth, trees)
    return own.assign(depth=own[depth].astype(int), trees=own[trees].astype(int))


def shape_map(trees: pd.DataFrame, ax: Axes, norm: Normalize) -> None:
    """One cell a shape: the accuracy of its best variant in percent, its 95 % t interval, and of how many it is the best.

    A best of more variants looks better than one of fewer: the number stands in the cell for that reason.

    Args:
        trees: variants that ran to their end, with `depth`, `trees`, `val_acc` and `interval` (`of_kind` makes them).
    """
    depths, sides = sorted(set(trees["depth"])), sorted(set(trees["trees"]))
    values = np.full((len(sides), len(depths)), np.nan)
    for (side, depth), cell in trees.groupby(["trees", "depth"]):
        best = cell.sort_values("val_acc").iloc[-1]
        row, column = sides.index(side), depths.index(depth)
        values[row, column] = best["val_acc"]
        text = f"{100 * best['val_acc']:.1f}"
        if not missing(best["interval"]):
            text += f"\n±{100 * best['interval']:.1f}"
        if len(cell) > 1:
            text += f"\nbest of {len(cell)}"
        dark = is_dark(ACCURACY(norm(best["val_acc"])))
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    ax.imshow(np.ma.masked_invalid(values), cmap=ACCURACY, norm=norm, origin="lower", aspect="auto")
    ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ax.set_yticks(range(len(sides)), [str(side) for side in sides])
    ax.set_xlabel("depth of a tree")
    ax.set_ylabel("trees side by side")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
