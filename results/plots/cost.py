"""Validation accuracy against what a variant costs, with the front of those that no cheaper one beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from results.frames import Frames
from results.plots.keys import LOG_SPAN
from results.plots.style import accuracy_axis, families, legend, say, styles_of, thousands
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

    A variant with a seed that diverged or is still to come has no mean, and so no point. Points that would cover each other
    stand side by side. Error bars are 95 % t intervals over seeds where there are two or more; for one seed, one standard
    error of an accuracy on as many validation images, which is less than what another seed may change.

    Args:
        column: of the trials, one of `COSTS`; seconds are means over a variant's seeds.
        front: draw the Pareto front of the means, a step line.
    Returns:
        How many points were drawn.
    """
    images = frames.search(search_id)["settings"].get("val_images")
    trials = frames.trials_of(search_id)
    styles = styles_of(set(families(trials))) if len(trials) else {}
    by_id = trials.assign(family=families(trials)).set_index("id")
    table = variants(frames, search_id, everything=True)
    complete = table.rows[table.rows["complete"]].drop_duplicates("variant") if len(table.rows) else table.rows
    groups = [by_id.loc[names] for names in complete["trials"]] if len(complete) else []
    groups = [
        group for group in groups if not pd.isna(group[column].mean()) and group["val_acc"].notna().any()
    ]  # a kind may not define a cost, and imported trials have no validation accuracy
    costs = [float(group[column].mean()) for group in groups]
    places = Counter(costs)
    placed: Counter[float] = Counter()
    means: list[float] = []
    seeds = 1
    for group, place in zip(groups, costs, strict=True):
        colour, marker = styles[group["family"].iloc[0]]
        values = [float(value) for value in group.loc[group["status"].isin(COMPLETE), "val_acc"].dropna()]
        seeds = max(seeds, len(values))
        mean = sum(values) / len(values)
        means.append(mean)
        single = accuracy_error(mean, images) if images else None
        points = (placed[place] - (places[place] - 1) / 2) * min(6, 36 / places[place])
        placed[place] += 1
        drawn = ax.errorbar(
            place,
            mean,
            yerr=t_interval(values) if len(values) > 1 else single,
            color=colour,
            marker=marker,
            markersize=6,
            capsize=3,
            linestyle="none",
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
    ax.set_xlabel(COSTS.get(column, column.replace("_", " ")))
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
        ended = "no variant that ran to its end has the two numbers"  # such as an imported one
        say(ax, ended if len(complete) else "no variant has run to its end yet")
    shown = {group["family"].iloc[0] for group in groups}
    legend(ax, {name: style for name, style in styles.items() if name in shown})
    return len(means)
