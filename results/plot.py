"""Pictures of a search, readable in print and by the colour-blind: curves with rungs, accuracy against size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.frames import Frames, load
from results.statistics import accuracy_error, t_interval
from results.table import COMPLETE

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart in grey print by markers, too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDINGS = {"stopped": "x", "diverged": "*", "failed": "*"}


def families(trials: pd.DataFrame) -> pd.Series:
    """The name by which a trial is coloured: its feed-forward kind, and its layout where that varies."""
    kinds = trials["ffn"].astype(str)
    if "layout" in trials and trials["layout"].nunique() > 1:
        pair = trials["layout"] == "pair"
        kinds = kinds.where(~pair, kinds + " pair")
    return kinds


def curves(frames: Frames, search_id: str, ax: Axes) -> None:
    """Validation accuracy by epoch of every trial: a cross where the scheduler stopped it, a dot where it finished."""
    trials = frames.trials_of(search_id)
    styles = _styles(trials)
    rungs = frames.search(search_id)["settings"].get("rungs") or []
    for rung in rungs:
        ax.axvline(rung, color="0.75", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        ax.annotate(
            f"rung {rung}", (rung, 1.01), xycoords=("data", "axes fraction"), fontsize=7, color="0.4", ha="center"
        )
    for (_, trial), family in zip(trials.iterrows(), families(trials), strict=True):
        rows = frames.epochs[frames.epochs["trial_id"] == trial["id"]].dropna(subset=["val_acc"])
        if rows.empty:
            continue
        colour, marker = styles[family]
        done = trial["status"] in COMPLETE
        ax.plot(
            rows["epoch"], rows["val_acc"], color=colour, linewidth=1.6 if done else 0.9, alpha=0.95 if done else 0.6
        )
        last = rows.iloc[-1]
        ending = ENDINGS.get(trial["status"], marker)
        size = 36 if trial["status"] in ENDINGS else 24
        ax.scatter(last["epoch"], last["val_acc"], color=colour, marker=ending, s=size, zorder=3)
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation accuracy (%)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax, styles, stopped=bool((trials["status"] == "stopped").any()) if len(trials) else False)


def accuracy_against(frames: Frames, search_id: str, column: str, ax: Axes) -> None:
    """Validation accuracy at the last epoch against a cost, one point a variant that ran to its end.

    Error bars are 95 % t intervals over seeds where there are two or more; for one seed, one standard error of an
    accuracy on as many validation images, which is less than what another seed may change.
    """
    images = frames.search(search_id)["settings"].get("val_images")
    trials = frames.trials_of(search_id)
    styles = _styles(trials)
    ended = trials[trials["status"].isin(COMPLETE)] if len(trials) else trials
    seeds = 1
    for _, group in ended.assign(family=families(ended)).groupby("variant", sort=False) if len(ended) else ():
        colour, marker = styles[group["family"].iloc[0]]
        values = [float(value) for value in group["val_acc"].dropna()]
        if not values:
            continue
        seeds = max(seeds, len(values))
        mean = sum(values) / len(values)
        single = accuracy_error(mean, images) if images else None
        ax.errorbar(
            float(group[column].iloc[0]),
            mean,
            yerr=t_interval(values) if len(values) > 1 else single,
            color=colour,
            marker=marker,
            markersize=6,
            capsize=3,
            linestyle="none",
        )
    ax.set_xlabel(column.replace("_", " "))
    ax.set_ylabel("validation accuracy (%)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))
    told = f"mean and 95 % t interval over {seeds} seeds" if seeds > 1 else "one seed each"
    if seeds == 1 and images:
        told += f"; bars: one standard error on {images:,} validation images"
    ax.set_title(told, fontsize=9, color="0.3")
    if ended.empty:
        ax.text(0.5, 0.5, "no trial has run to its end yet", ha="center", transform=ax.transAxes, color="0.4")
    _legend(ax, {name: style for name, style in styles.items() if len(ended) and name in set(families(ended))})


def search_picture(frames: Frames, search_id: str, path: Path) -> Path:
    """Both panels as one PNG; returns its path."""
    figure = Figure(figsize=(11, 4.4), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    curves(frames, search_id, left)
    accuracy_against(frames, search_id, "parameters", right)
    search = frames.search(search_id)
    figure.suptitle(f"{search_id}: {search['question']}", fontsize=10, wrap=True)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
    figure.savefig(path)
    return path


def _styles(trials: pd.DataFrame) -> dict[str, tuple[str, str]]:
    names = sorted(set(families(trials))) if len(trials) else []
    return {name: (COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]) for n, name in enumerate(names)}


def _legend(ax: Axes, styles: dict[str, tuple[str, str]], *, stopped: bool = False) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=name)
        for name, (colour, marker) in styles.items()
    ]
    if stopped:
        handles.append(Line2D([], [], color="0.4", marker="x", linestyle="none", markersize=5, label="stopped by ASHA"))
    if handles:
        ax.legend(handles=handles, fontsize=8, frameon=False, loc="best")


def _thousands(value: float, position: object) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"


EXAMPLES = """\
A picture of a search: all validation curves with rungs, and accuracy against parameters with intervals.

Examples:

  python -m results.plot quickstart-1

  python -m results.plot baseline-1 -o baseline.png
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id. Default: the latest.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The PNG. Default: SEARCH.png here.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    frames = load(storage)
    if search is None:
        if frames.searches.empty:
            raise InputError("There is no search yet; run one with: python -m search.run")
        search = str(frames.searches["id"].iloc[-1])
    path = output or Path(f"{search}.png")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    typer.echo(f"Picture: {search_picture(frames, search, path)}")


if __name__ == "__main__":
    run(app, "python -m results.plot")
