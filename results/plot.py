"""Pictures of a search, readable in print and by the colour-blind: curves with rungs, accuracy against size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.frames import Frames, load
from results.leaf_use import leaf_use_picture
from results.statistics import accuracy_error, t_interval
from results.table import COMPLETE, variants
from results.text import plain

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), told apart in grey print by markers, too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENDINGS = {"stopped": "x", "diverged": "*", "failed": "*"}


def families(trials: pd.DataFrame) -> pd.Series:
    """The name by which a trial is coloured: its feed-forward kind, and its layout where that varies."""
    kinds = trials["ffn"].astype(str) if "ffn" in trials else pd.Series("trial", index=trials.index)
    if "layout" in trials and trials["layout"].nunique() > 1:
        pair = trials["layout"] == "pair"
        kinds = kinds.where(~pair, kinds + " pair")
    return kinds


def curves(frames: Frames, search_id: str, ax: Axes) -> None:
    """Validation accuracy by epoch of every trial.

    A curve ends in a filled marker where the trial finished, a cross where the scheduler stopped it, a star where it
    diverged or failed, and a hollow marker where it may go on.
    """
    trials = frames.trials_of(search_id)
    styles = _styles(trials)
    rungs = frames.search(search_id)["settings"].get("rungs") or []
    for rung in rungs:
        ax.axvline(rung, color="0.75", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        ax.annotate(
            f"rung {rung}", (rung, 1.01), xycoords=("data", "axes fraction"), fontsize=7, color="0.4", ha="center"
        )
    recorded = dict(list(frames.epochs.dropna(subset=["val_acc"]).groupby("trial_id")))
    for (_, trial), family in zip(trials.iterrows(), families(trials), strict=True):
        rows = recorded.get(trial["id"])
        if rows is None:
            continue
        colour, marker = styles[family]
        done = trial["status"] in COMPLETE
        ax.plot(
            rows["epoch"], rows["val_acc"], color=colour, linewidth=1.6 if done else 0.9, alpha=0.95 if done else 0.6
        )
        last = rows.iloc[-1]
        ending = ENDINGS.get(trial["status"], marker)
        size = 36 if trial["status"] in ENDINGS else 24
        filled = done or trial["status"] in ENDINGS
        ax.scatter(
            last["epoch"], last["val_acc"], color=colour, facecolor=colour if filled else "white", marker=ending, s=size,
            zorder=3,
        )  # fmt: skip
    ax.set_xlabel("epoch")
    ax.set_ylabel("validation accuracy (%)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not recorded.keys() & set(trials["id"]):
        _say(ax, "no epoch has been recorded yet")
    _legend(ax, styles, set(trials["status"]))


def accuracy_against(frames: Frames, search_id: str, column: str, ax: Axes) -> None:
    """Validation accuracy at the last epoch against a cost, one point a variant whose planned seeds all ran to their end.

    A variant with a seed that diverged or is still to come has no mean, and so no point. Points that would cover each other
    stand side by side. Error bars are 95 % t intervals over seeds where there are two or more; for one seed, one standard
    error of an accuracy on as many validation images, which is less than what another seed may change.
    """
    images = frames.search(search_id)["settings"].get("val_images")
    trials = frames.trials_of(search_id)
    styles = _styles(trials)
    by_id = trials.assign(family=families(trials)).set_index("id")
    table = variants(frames, search_id, everything=True)
    complete = table.rows[table.rows["complete"]] if len(table.rows) else table.rows
    groups = [by_id.loc[names] for names in complete["trials"]] if len(complete) else []
    groups = [group for group in groups if not pd.isna(group[column].iloc[0])]
    places = Counter(float(group[column].iloc[0]) for group in groups)
    placed: Counter[float] = Counter()
    seeds = 1
    for group in groups:
        colour, marker = styles[group["family"].iloc[0]]
        values = [float(value) for value in group.loc[group["status"].isin(COMPLETE), "val_acc"].dropna()]
        if not values:
            continue
        seeds = max(seeds, len(values))
        mean, place = sum(values) / len(values), float(group[column].iloc[0])
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
    ax.set_xlabel(column.replace("_", " "))
    ax.set_ylabel("validation accuracy (%)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    ax.xaxis.set_major_formatter(FuncFormatter(_thousands))
    told = f"mean and 95 % t interval over {seeds} seeds" if seeds > 1 else "one seed each"
    if seeds == 1 and images:
        told += f"; bars: one standard error on {images:,} validation images"
    missing = len(table.rows) - len(complete)
    if table.is_comparison and missing:
        told += f"; {missing} without all seeds left out"
    if groups:
        ax.set_title(told, fontsize=9, color="0.3")
    else:
        _say(ax, "no variant has run to its end yet")
    shown = {group["family"].iloc[0] for group in groups}
    _legend(ax, {name: style for name, style in styles.items() if name in shown})


def search_picture(frames: Frames, search_id: str, path: Path) -> Path:
    """Both panels as one PNG; returns its path."""
    figure = Figure(figsize=(11, 4.4), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    curves(frames, search_id, left)
    accuracy_against(frames, search_id, "parameters", right)
    search = frames.search(search_id)
    title = plain(f"{search_id}: {search['question']}").replace("$", r"\$")  # no formula, whatever a question holds
    figure.suptitle(title, fontsize=10, wrap=True)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.92")
        ax.set_axisbelow(True)
    figure.savefig(path)
    return path


def _styles(trials: pd.DataFrame) -> dict[str, tuple[str, str]]:
    names = sorted(set(families(trials))) if len(trials) else []
    return {name: (COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]) for n, name in enumerate(names)}


def _say(ax: Axes, sentence: str) -> None:
    """Instead of points, why there are none."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, sentence, ha="center", transform=ax.transAxes, color="0.4")


def _legend(ax: Axes, styles: dict[str, tuple[str, str]], statuses: Set[str] = frozenset()) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=name)
        for name, (colour, marker) in styles.items()
    ]
    told = (
        ("stopped by ASHA", {"stopped"}, "x", "0.4"),
        ("diverged or failed", {"diverged", "failed"}, "*", "0.4"),
        ("not ended", {"running", "paused", "interrupted"}, "o", "white"),
    )
    for label, those, marker, face in told:
        if statuses & those:
            grey = Line2D([], [], color="0.4", marker=marker, markerfacecolor=face, linestyle="none", markersize=5)
            grey.set_label(label)
            handles.append(grey)
    if handles:
        ax.legend(handles=handles, fontsize=8, frameon=False, loc="best")


def _thousands(value: float, position: object) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"


EXAMPLES = """\
A picture of a search: all validation curves with rungs, and accuracy against parameters with intervals. Or of one trial
whose feed-forward parts are trees: how evenly they use their leaves.

Examples:

  python -m results.plot quickstart-1

  python -m results.plot baseline-1 -o baseline.png

  python -m results.plot --leaf-use quickstart-1.7
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id. Default: the latest.")] = None,
    leaf_use: Annotated[
        str | None, typer.Option(metavar="TRIAL", help="The leaves of this trial's trees instead.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The PNG. Default: SEARCH.png or TRIAL-leaves.png here.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    frames = load(storage)
    if search is not None and leaf_use is not None:
        raise InputError(f'"--leaf-use" must be given without a search, but got {search!r} and {leaf_use!r}.')
    if leaf_use is not None:
        path = _picture(output or Path(f"{leaf_use}-leaves.png"))
        typer.echo(f"Picture: {leaf_use_picture(frames, leaf_use, path)}")
        return
    if search is None:
        search = frames.latest()
    path = _picture(output or Path(f"{search}.png"))
    typer.echo(f"Picture: {search_picture(frames, search, path)}")


def _picture(path: Path) -> Path:
    """The path, where a picture can be written there. Raises InputError where it cannot."""
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.is_dir() or path.suffix[1:].lower() not in kinds:
        raise InputError(
            f"The picture must be a file that ends in .png (or {', '.join(sorted(kinds))}), but got {path}."
        )
    return path


if __name__ == "__main__":
    run(app, "python -m results.plot")
