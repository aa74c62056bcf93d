"""Validation accuracy over two searched keys at once: points, and contours between them where there are enough."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation

from results.plots.keys import Scale, having, is_number, short_name
from results.plots.style import ACCURACY, accuracy_colours

A_CHARACTER = 0.016
"""The share of the width that a character of a tick's name takes."""
LEAST = 8
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
    for scale, axis in zip(scales, (ax.xaxis, ax.yaxis), strict=True):
        scale.dress(axis, is_x=axis is ax.xaxis, character=A_CHARACTER if axis is ax.xaxis else 0.0)
    surface = _surface(rows, x, y, scales)
    if surface is not None:
        triangles, heights = surface
        levels = np.linspace(float(norm.vmin or 0), float(norm.vmax or 1), 10)
        drawn_so = ax.transLimits + ax.transAxes  # the corners are scaled already: linear between them as seen on paper
        ax.tricontourf(
            triangles, heights, levels=levels, cmap=ACCURACY, norm=norm, extend="min", alpha=0.55, zorder=0,
            transform=drawn_so,
        )  # fmt: skip
        ax.tricontour(triangles, heights, levels=levels, colors="white", linewidths=0.6, zorder=1, transform=drawn_so)
    ax.scatter(
        list(others[x]), list(others[y]), marker="x", s=20, linewidths=0.9, color="0.45", zorder=2, label="_stopped"
    )
    drawn = rows.sort_values("val_acc")  # the best on top
    ax.scatter(
        list(drawn[x]), list(drawn[y]), c=list(drawn["val_acc"]), cmap=ACCURACY, norm=norm, s=46, edgecolors="white",
        linewidths=0.8, zorder=3, label="_variants",
    )  # fmt: skip
    ax.set_xlabel(short_name(x))
    ax.set_ylabel(short_name(y))
    ax.spines[["top", "right"]].set_visible(False)
    return surface is not None


def best_pair(rows: pd.DataFrame, keys: list[str]) -> tuple[str, str] | None:
    """The two keys of numbers, with three values each if there are such, that the most variants have; of equals, those with
    the most different places.
    """
    numbers = [key for key in keys if is_number(rows[key]) and rows[key].dropna().nunique() > 1]
    pairs = []
    for place, (a, b) in enumerate(combinations(numbers, 2)):
        own = having(rows, a, b)
        values = min(own[a].nunique(), own[b].nunique())
        if values > 1:
            pairs.append((min(values, 3), len(own), len(own[[a, b]].drop_duplicates()), -place, a, b))
    return max(pairs)[-2:] if pairs else None


def _surface(
    rows: pd.DataFrame, x: str, y: str, scales: tuple[Scale, Scale]
) -> tuple[Triangulation, np.ndarray] | None:
    """Triangles over the places, chosen on the scales as drawn, and each mean accuracy; none where they are too few."""
    places = rows.groupby([x, y])["val_acc"].mean().reset_index()
    if len(places) < LEAST:
        return None
    across, up = scales[0].scaled(places[x]), scales[1].scaled(places[y])
    try:
        triangles = Triangulation(across, up, _triangles(places, x, y, scales))
    except (RuntimeError, ValueError):  # all on one line
        return None
    return triangles, places["val_acc"].to_numpy(dtype=float)


def _triangles(places: pd.DataFrame, x: str, y: str, scales: tuple[Scale, Scale]) -> np.ndarray:
    """Delaunay's, of the places as they lie on paper."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Triangulation(
            [scales[0].share(value) for value in places[x]], [scales[1].share(value) for value in places[y]]
        ).triangles
