"""A picture of how evenly a trial's trees use their leaves, one panel a feed-forward module.

It shows what the trial's last epoch left in `extra["trees"]` (`trainer/diagnostics.py`): how many inputs of a fixed probe
reach each leaf. The leaves of a tree stand in the order of their visits; even use would be flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from results.errors import InputError
from results.frames import Frames
from results.ids import unknown
from results.text import plain

# Okabe and Ito's blue and vermilion (https://jfly.uni-koeln.de/color/)
VISITED, DEAD = "#0072B2", "#D55E00"
PANELS_A_ROW = 4


def leaf_use(visits: Sequence[Sequence[int]], ax: Axes) -> None:
    """The trees of one module: leaves by rank against their share of the tree's inputs, a line a tree.

    `visits` has a row a tree and an entry a leaf. A dashed line marks even use; what no input reached is shaded from
    the first rank at which no tree has a leaf in use.
    """
    leaves = len(visits[0])
    edges = [rank + 0.5 for rank in range(leaves + 1)]
    for tree in visits:
        inputs = max(1, sum(tree))
        shares = sorted((count / inputs for count in tree), reverse=True)
        ax.stairs(shares, edges, color=VISITED, fill=len(visits) == 1, alpha=0.85 if len(visits) < 4 else 0.5)
    ax.axhline(1 / leaves, color="0.25", linewidth=1, linestyle=(0, (4, 2)))
    dead = [sum(count == 0 for count in tree) for tree in visits]
    if all(dead):
        ax.axvspan(leaves - min(dead) + 0.5, leaves + 0.5, color=DEAD, alpha=0.25, linewidth=0)
    ax.set_xlim(0.5, leaves + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))


def leaf_use_picture(frames: Frames, trial_id: str, path: Path) -> Path:
    """All feed-forward modules of a trial as one PNG; returns its path.

    Raises:
        InputError: no such trial, or none whose leaves were counted.
    """
    said = _last_words(frames, trial_id)
    visits: Mapping[str, Sequence[Sequence[int]]] = said["leaf_visits"]
    columns = min(PANELS_A_ROW, len(visits))
    rows = math.ceil(len(visits) / columns)
    figure = Figure(figsize=(max(5.5, 3.1 * columns), 2.7 * rows + 0.5), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax in panels.flat[len(visits) :]:
        ax.set_visible(False)
    for ax, (name, trees) in zip(panels.flat, visits.items(), strict=False):
        leaf_use(trees, ax)
        ax.set_title(f"{plain(name)}\n{_figures(trees, said.get('modules', {}).get(name, {}))}", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("leaves, the most visited first", fontsize=9)
    figure.supylabel("share of the inputs (%)", fontsize=9)
    told = "dashed: even use" + (
        "; shaded: reached by no input" if any(_dead(trees) for trees in visits.values()) else ""
    )
    figure.suptitle(f"{trial_id}: use of the leaves ({told})", fontsize=10)
    figure.savefig(path)
    return path


def _last_words(frames: Frames, trial_id: str) -> dict[str, Any]:
    """What the trial's last epoch said of its trees."""
    if trial_id not in set(frames.trials["id"]):
        raise InputError(unknown("trial", trial_id, list(frames.trials["id"])))
    epochs = frames.epochs[frames.epochs["trial_id"] == trial_id].sort_values("epoch")
    said: dict[str, Any] = epochs["extra"].iloc[-1].get("trees", {}) if len(epochs) else {}
    if not said.get("leaf_visits"):
        raise InputError(
            f"Trial {trial_id} has no count of its leaves: name one with trees of at most 4,096 leaves in a feed-forward "
            "that was trained to its last planned epoch."
        )
    return said


def _dead(trees: Sequence[Sequence[int]]) -> int:
    return sum(count == 0 for tree in trees for count in tree)


def _figures(trees: Sequence[Sequence[int]], module: Mapping[str, Any]) -> str:
    leaves = sum(len(tree) for tree in trees)
    several = f"{len(trees)} trees, " if len(trees) > 1 else ""
    entropy = module.get("leaf_entropy")
    end = f", entropy {entropy:.2f}" if entropy is not None else ""
    return f"{several}{_dead(trees)} of {leaves} dead{end}, {sum(trees[0]):,} inputs"
