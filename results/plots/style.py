"""What all pictures share: colours for the colour-blind, markers for grey print, a page and its words."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from results.text import plain

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart in grey print by markers, too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDINGS = {"stopped": "x", "diverged": "*", "failed": "*"}
PAIR = " pair"
LONG_LEGEND = 8
NOT_ENDED = frozenset({"running", "paused", "interrupted"})

# cividis (Nuñez, Anderton and Renslow 2018, https://doi.org/10.1371/journal.pone.0199239): dark is accurate, on paper and in
# grey, too; its palest tenth would vanish on white
ACCURACY = ListedColormap(matplotlib.colormaps["cividis_r"](np.linspace(0.1, 1, 256)), name="accuracy")

PERCENT = FuncFormatter(lambda value, _: f"{100 * value:.6g}")
"""Of an axis of fractions."""


def families(trials: pd.DataFrame) -> pd.Series:
    """The name by which a trial is coloured: its feed-forward kind, and its layout where that varies."""
    kinds = trials["ffn"].astype(str) if "ffn" in trials else pd.Series("trial", index=trials.index)
    if "layout" in trials and trials["layout"].nunique() > 1:
        pair = trials["layout"] == "pair"
        kinds = kinds.where(~pair, kinds + PAIR)
    return kinds


def styles_of(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each name, in their sorted order, no two alike.

    Where colours do not suffice, a kind alone and in pairs shares one and has two markers.
    """
    ordered = sorted(set(names))
    if len(ordered) <= len(COLOURS):
        return {name: (COLOURS[n], MARKERS[n]) for n, name in enumerate(ordered)}
    places = {kind: n for n, kind in enumerate(sorted({name.removesuffix(PAIR) for name in ordered}))}
    styles = {}
    for name in ordered:
        n = places[name.removesuffix(PAIR)]
        marker = n + 2 * (n // len(COLOURS)) + (3 if name.endswith(PAIR) else 0)
        styles[name] = (COLOURS[n % len(COLOURS)], MARKERS[marker % len(MARKERS)])
    return styles


def legend(ax: Axes, styles: Mapping[str, tuple[str, str]], statuses: Set[str] = frozenset()) -> None:
    """The names of a picture's colours, and what the ends of its curves mean."""
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=name.replace("$", r"\$"))
        for name, (colour, marker) in styles.items()
    ]
    told = (
        ("stopped early", {"stopped"}, "x", "0.4"),
        ("diverged or failed", {"diverged", "failed"}, "*", "0.4"),
        ("not ended", NOT_ENDED, "o", "white"),
    )
    for label, those, marker, face in told:
        if statuses & those:
            grey = Line2D([], [], color="0.4", marker=marker, markerfacecolor=face, linestyle="none", markersize=5)
            grey.set_label(label)
            handles.append(grey)
    if handles:
        place_legend(ax, handles)


def place_legend(ax: Axes, handles: Sequence[Any]) -> None:
    """Where it hides least; beside the axes where it is long."""
    if len(handles) > LONG_LEGEND:
        ax.legend(handles=handles, fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:  # on a pale ground, for curves may run below it
        ax.legend(handles=handles, fontsize=8, framealpha=0.75, edgecolor="none", loc="best")


def say(ax: Axes, sentence: str) -> None:
    """Instead of points, why there are none."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, sentence, ha="center", transform=ax.transAxes, color="0.4")


def accuracy_axis(ax: Axes, *, label: bool = True) -> None:
    """The vertical axis is a validation accuracy: fractions, told in percent."""
    if label:
        ax.set_ylabel("validation accuracy (%)")
    ax.yaxis.set_major_formatter(PERCENT)


def tidy(ax: Axes) -> None:
    """No box, and faint lines to read heights by."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)


def thousands(value: float, position: object = None) -> str:
    """`4.4 M`, `12 k`, `250`."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"


def accuracy_colours(values: Sequence[float]) -> Normalize:
    """Colours of these accuracies; far outliers below (Tukey's fence) share the palest, or all others would look alike."""
    first, third = np.percentile(values, [25, 75])
    low, high = max(min(values), float(first - 1.5 * (third - first))), max(values)
    return Normalize(low, high) if high > low else Normalize(low - 0.005, high + 0.005)


def colour_bar(axes: Axes | Sequence[Axes], norm: Normalize, values: Sequence[float]) -> None:
    """What the colours mean, beside the axes."""
    first = axes if isinstance(axes, Axes) else axes[0]
    figure = first.figure
    lowest = norm.vmin if norm.vmin is not None else -math.inf
    bar = figure.colorbar(
        ScalarMappable(norm, ACCURACY),
        ax=axes,
        extend="min" if min(values) < lowest else "neither",
        pad=0.02,
        aspect=30,
    )
    bar.ax.yaxis.set_major_formatter(PERCENT)
    bar.set_label("validation accuracy (%)", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def is_dark(colour: str | tuple[float, float, float, float]) -> bool:
    """Whether white text reads better on it than black, by luma (ITU-R BT.601)."""
    red, green, blue = to_rgb(colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.52


def page(title: str, *, width: float, height: float, note: str = "") -> Figure:
    """An empty figure with its title above and, below, what the picture leaves out; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    figure.suptitle(wrapped(title, width), fontsize=10)
    if note:
        figure.supxlabel(wrapped(note, width * 1.15), fontsize=8, color="0.3")
    return figure


def wrapped(text: str, width: float) -> str:
    """Text in lines that fit so many inches in 10 points; no formula, whatever it holds."""
    return "\n".join(textwrap.wrap(plain(text), round(width * 13))).replace("$", r"\$")
