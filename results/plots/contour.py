"""Validation accuracy over two searched keys at once: points, and contours between them where there are enough."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation

from results.plots.keys import Scale, having, is_number, short_name
from results.plots.style import ACCURACY, accuracy_colours

LEAST = 6
"""Places below which a surface would be invented rather than drawn."""


def contour(rows: pd.DataFrame, x: str, y: str, ax: Axes, *, stopped: pd.DataFrame | None = None) -> bool:
    """One dot a variant, darker where it is more accurate, over contours by linear interpolation between places.

    Where several variants share a place, the surface passes through their mean: all other keys differ from dot to dot, so it
    shows where the search found good ones, not what these two keys do alone. Outside the dots nothing is drawn.

    Args:
        rows: variants that ran to their end and have both keys, which are numbers of at least two values each.
        stopped: crosses, where the scheduler stopped variants.
    Returns:
        Whether there were places enough for contours.
    """
    others = rows.iloc[:0] if stopped is None else stopped
    every = pd.concat([rows, others]) if len(others) else rows
    scales = Scale.of(every[x]), Scale.of(every[y])
    norm = accuracy_colours(list(rows["val_acc"]))
    surface = _surface(rows, x, y, scales)
    if surface is not None:
        triangles, heights = surface
        levels = np.linspace(float(norm.vmin or 0), float(norm.vmax or 1), 10)
        ax.tricontourf(triangles, heights, levels=levels, cmap=ACCURACY, norm=norm, extend="min", alpha=0.55, zorder=0)
        ax.tricontour(triangles, heights, levels=levels, colors="white", linewidths=0.6, zorder=1)
    ax.scatter(
        list(others[x]), list(others[y]), marker="x", s=20, linewidths=0.9, color="0.45", zorder=2, label="_stopped"
    )
    drawn = rows.sort_values("val_acc")  # the best on top
    ax.scatter(
        list(drawn[x]), list(drawn[y]), c=list(drawn["val_acc"]), cmap=ACCURACY, norm=norm, s=46, edgecolors="white",
        linewidths=0.8, zorder=3, label="_variants",
    )  # fmt: skip
    for scale, axis in zip(scales, (ax.xaxis, ax.yaxis), strict=True):
        scale.dress(axis, is_x=axis is ax.xaxis, character=0.016 if axis is ax.xaxis else 0.0)
    ax.set_xlabel(short_name(x))
    ax.set_ylabel(short_name(y))
    ax.spines[["top", "right"]].set_visible(False)
    return surface is not None


def best_pair(rows: pd.DataFrame, keys: list[str]) -> tuple[str, str] | None:
    """The two keys of numbers that the most variants have; of equals, those with the most different places."""
    numbers = [key for key in keys if is_number(rows[key]) and rows[key].dropna().nunique() > 1]
    pairs = [
        (len(having(rows, a, b)), len(having(rows, a, b)[[a, b]].drop_duplicates()), -place, a, b)
        for place, (a, b) in enumerate((a, b) for n, a in enumerate(numbers) for b in numbers[n + 1 :])
        if _spans(having(rows, a, b), a, b)
    ]
    return max(pairs)[-2:] if pairs else None


def _spans(rows: pd.DataFrame, x: str, y: str) -> bool:
    return bool(len(rows)) and rows[x].nunique() > 1 and rows[y].nunique() > 1


def _surface(
    rows: pd.DataFrame, x: str, y: str, scales: tuple[Scale, Scale]
) -> tuple[Triangulation, np.ndarray] | None:
    """Triangles over the places, chosen on the scales as drawn, and each mean accuracy; none where they are too few."""
    places = rows.groupby([x, y], as_index=False)["val_acc"].mean()
    if len(places) < LEAST:
        return None
    across = [scales[0].share(value) for value in places[x]]
    up = [scales[1].share(value) for value in places[y]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            triangles = Triangulation(across, up).triangles
    except (RuntimeError, ValueError):  # all on one line
        return None
    return Triangulation(list(places[x]), list(places[y]), triangles), places["val_acc"].to_numpy(dtype=float)
