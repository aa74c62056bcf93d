"""Validation accuracy against what a variant costs, with the front of those that no cheaper one beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from results.frames import Frames
from results.plots.colouring import colouring
from results.plots.keys import LOG_SPAN
from results.plots.style import accuracy_axis, legend, say, thousands
from results.statistics import accuracy_error, t_interval
from results.table import COMPLETE, variants

COSTS = {
    "parameters": "parameters",
    "neurons_used": "neurons of a block that one input uses",
    "macs": "multiply-adds an image",
    "macs_conditional": "multiply-adds an image, in the conditional form",
    "latency_seconds": "seconds for one image on one CPU thread",
    "gpu_seconds": "GPU-seconds of a trial",
    "wall_seconds": "seconds of a trial",
}
"""Columns of the trials that are costs, and how an axis says them."""
SIDE_BY_SIDE = "equal ones side by side"


def pareto(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """Places of the points that no other beats: none is both as cheap and as accurate and better in one; by rising cost."""
    order = sorted(range(len(costs)), key=lambda place: (costs[place], -accuracies[place]))
    front: list[int] = []
    for place in order:
        if not front or accuracies[place] > accuracies[front[-1]]:
            front.append(place)
    return front


def accuracy_against(frames: Frames, search_id: str, column: str, ax: Axes, *, front: bool = False) -> int:
    """Validation accuracy at the last epoch against a cost, one point a variant whose planned seeds all ran to their end.

    A variant with a seed that diverged or is still to come has no mean, and so no point. Points of equal cost that would
    cover each other stand side by side, which the axis says. Error bars are 95 % t intervals over seeds where there are two
    or more; for one seed, one standard error of an accuracy on as many validation images, which is less than what another
    seed may change.

    Args:
        column: of the trials, one of `COSTS`; seconds are means over a variant's seeds.
        front: draw the Pareto front of the means, a step line.
    Returns:
        How many points were drawn.
    """
    images = frames.search(search_id)["settings"].get("val_images")
    trials = frames.trials_of(search_id)
    table = variants(frames, search_id, everything=True)
    coloured = colouring(trials, table)
    by_id = trials.assign(name=trials["id"].map(coloured.names)).set_index("id")
    complete = table.rows[table.rows["complete"]].drop_duplicates("variant") if len(table.rows) else table.rows
    groups = [by_id.loc[names] for names in complete["trials"]] if len(complete) else []
    groups = [
        group for group in groups if not pd.isna(group[column].mean()) and group["val_acc"].notna().any()
    ]  # a kind may not define a cost, and imported trials have no validation accuracy
    costs = [float(group[column].mean()) for group in groups]
    ended = [
        [float(value) for value in group.loc[group["status"].isin(COMPLETE), "val_acc"].dropna()] for group in groups
    ]
    seeds = max([1, *map(len, ended)])
    means = [sum(values) / len(values) for values in ended]
    halves = [
        t_interval(values) if len(values) > 1 else accuracy_error(mean, images) if images else None
        for values, mean in zip(ended, means, strict=True)
    ]
    moved = _moved(costs, means, halves)
    for group, place, mean, half, points in zip(groups, costs, means, halves, moved, strict=True):
        colour, marker = coloured.styles[group["name"].iloc[0]]
        drawn = ax.errorbar(
            place, mean, yerr=half, color=colour, marker=marker, markersize=6, capsize=3, linestyle="none"
        )
        aside = ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)
        for artist in drawn.get_children():  # after errorbar, which takes the axes' limits from what it is given
            artist.set_transform(aside)
    if front and means:
        best = pareto(costs, means)
        ax.step(
            [costs[place] for place in best], [means[place] for place in best], where="post", color="0.45",
            linewidth=1.2, zorder=1, label="Pareto front of the means",
        )  # fmt: skip
    if costs and min(costs) > 0 and max(costs) / min(costs) >= LOG_SPAN:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if max(costs) / min(costs) > 1e3 else (1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_locator(NullLocator())
    elif len(set(costs)) == 1:  # no other number on the axis means anything
        ax.set_xticks([costs[0]])
    ax.set_xlabel(COSTS.get(column, column.replace("_", " ")) + (f" ({SIDE_BY_SIDE})" if any(moved) else ""))
    accuracy_axis(ax)
    ax.xaxis.set_major_formatter(FuncFormatter(thousands))
    told = f"mean and 95 % t interval over {seeds} seeds" if seeds > 1 else "one seed each"
    if seeds == 1 and images:
        told += f"; bars: one standard error on {images:,} validation images"
    missing = len(table.rows) - int(table.rows["complete"].sum()) if len(table.rows) else 0
    if table.is_comparison and missing:
        told += f"; {missing} without all seeds left out"
    if groups:
        ax.set_title(told, fontsize=9, color="0.3")
    else:
        without = "no variant that ran to its end has the two numbers"  # such as an imported one
        say(ax, without if len(complete) else "no variant has run to its end yet")
    shown = {group["name"].iloc[0] for group in groups}
    legend(ax, {name: style for name, style in coloured.styles.items() if name in shown})
    return len(means)


def covering(costs: Sequence[float], accuracies: Sequence[float], halves: Sequence[float | None]) -> set[float]:
    """The costs at which points or their bars would cover each other.

    Args:
        halves: of the bars' lengths; none where a point has no bar.
    """
    marker = 0.02 * (max(accuracies) - min(accuracies)) if accuracies else 0.0
    found = set()
    for cost in {cost for cost, count in Counter(costs).items() if count > 1}:
        own = sorted(
            (accuracy, max(marker, half or 0.0))
            for place, accuracy, half in zip(costs, accuracies, halves, strict=True)
            if place == cost
        )
        tops = accumulate((accuracy + half for accuracy, half in own), max)
        if any(accuracy - half <= top for (accuracy, half), top in zip(own[1:], tops, strict=False)):
            found.add(cost)
    return found


def _moved(costs: Sequence[float], accuracies: Sequence[float], halves: Sequence[float | None]) -> list[float]:
    """How far each point is drawn to the right of its cost, in points of print: 0 unless it would cover another."""
    counts, placed = Counter(costs), Counter[float]()
    covered = covering(costs, accuracies, halves)
    widest = 36 if len(counts) > 1 else 150
    found = []
    for cost in costs:
        step = min(widest / 6, widest / counts[cost]) if cost in covered else 0.0
        found.append((placed[cost] - (counts[cost] - 1) / 2) * step)
        placed[cost] += 1
    return found
