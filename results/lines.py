"""A picture of figures along a number, such as time against depth: lines with markers, their quartiles as bands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from results.plots.style import COLOURS, MARKERS
from results.text import plain


def lines_picture(
    rows: Sequence[Mapping[str, int | float | str]],
    *,
    x: str,
    y: str,
    line: Sequence[str],
    band: tuple[str, str] | None,
    title: str,
    path: Path,
) -> Path:
    """One PNG; returns its path.

    Args:
        rows: each with the columns that follow.
        x: the column along which is drawn.
        y: the column that is drawn, on a logarithmic scale: above 0.
        line: the columns whose values together name a line.
        band: the columns of the lower and upper end of a band around each line.
    """
    figure = Figure(figsize=(7.5, 4.8), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    draw_lines(rows, x=x, y=y, line=line, band=band, ax=ax)
    figure.suptitle(plain(title).replace("$", r"\$"), fontsize=10, wrap=True)
    figure.savefig(path)
    return path


def draw_lines(
    rows: Sequence[Mapping[str, int | float | str]],
    *,
    x: str,
    y: str,
    line: Sequence[str],
    band: tuple[str, str] | None,
    ax: Axes,
) -> None:
    """The lines of `lines_picture` into axes of one's own."""
    groups: dict[str, list[Mapping[str, int | float | str]]] = {}
    for row in rows:
        name = ", ".join(plain(row[key]) if isinstance(row[key], str) else f"{row[key]:,} {plain(key)}" for key in line)
        groups.setdefault(name, []).append(row)
    for number, (name, members) in enumerate(groups.items()):
        ordered = sorted(members, key=lambda row: float(row[x]))
        places = [float(row[x]) for row in ordered]
        colour = COLOURS[number % len(COLOURS)]
        ax.plot(
            places, [float(row[y]) for row in ordered], color=colour, marker=MARKERS[number % len(MARKERS)], markersize=5,
            linewidth=1.6, label=name,
        )  # fmt: skip
        if band is not None:
            low, high = ([float(row[column]) for row in ordered] for column in band)
            ax.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    heights = [float(row[y]) for row in rows]
    if math.log10(max(heights) / min(heights)) < 1.5:  # with few powers of ten, numbers between them, too
        ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(x)
    ax.set_ylabel(y + (" (band: quartiles)" if band is not None else ""))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.92")
    ax.set_axisbelow(True)
    ax.legend(fontsize=8, frameon=False, loc="best")
