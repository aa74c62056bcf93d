"""The pictures of a search by their names: what each shows, and the figure it makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from results.errors import InputError
from results.frames import Frames
from results.ids import unknown
from results.plots.best_so_far import best_so_far, steps, tuned_at
from results.plots.contour import best_pair, contour
from results.plots.cost import accuracy_against
from results.plots.curves import curves
from results.plots.keys import chosen, having, is_number, searched
from results.plots.level_effect import EQUAL_MEAN, RATIO, level_effect, rate_lines
from results.plots.parallel import parallel
from results.plots.points import measured, stopped, what_is_drawn
from results.plots.slices import key_slice
from results.plots.style import accuracy_colours, colour_bar, families, page, styles_of, tidy, wrapped
from results.plots.timeline import lanes, timeline
from results.plots.tree_shapes import of_kind, shape_map, tree_kinds
from results.table import Table, variants
from results.text import counted

LEAST = 2
"""Variants that ran to their end, below which a picture of keys shows nothing."""
MOST_AXES = 12
"""Keys that parallel coordinates show of themselves: those that most variants have."""
PANELS_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """One of the pictures that a search may have."""

    shows: str
    draw: Callable[[Frames, str, Sequence[str]], Figure]
    """The figure of a search, of these keys where the picture is of keys; raises InputError where it has nothing for it."""
    of_keys: bool = False


def figure_of(frames: Frames, search_id: str, kind: str, keys: Sequence[str] = ()) -> Figure:
    """The picture of that name.

    Raises:
        InputError: an unknown picture or search; keys for a picture that has none; a search that has nothing for it.
    """
    if kind not in PICTURES:
        raise InputError(unknown("picture", kind, list(PICTURES)))
    picture = PICTURES[kind]
    if keys and not picture.of_keys:
        able = ", ".join(name for name, each in PICTURES.items() if each.of_keys)
        raise InputError(f'"--key" is for pictures of keys ({able}), but got {keys[0]!r} for {kind}.')
    return picture.draw(frames, search_id, keys)


def _title(frames: Frames, search_id: str) -> str:
    return f"{search_id}: {frames.search(search_id)['question']}"


def _curves(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    figure = page(_title(frames, search_id), width=7, height=4.6)
    ax = figure.subplots()
    curves(frames, search_id, ax)
    tidy(ax)
    return figure


def _cost(*columns: str) -> Callable[[Frames, str, Sequence[str]], Figure]:
    """A picture against the first of these columns that has a value above 0 in the search."""

    def draw(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
        table, rows = _variants(frames, search_id)
        trials = frames.trials_of(search_id)
        costly = [name for name in columns if (trials[name].fillna(0) > 0).any()]
        if not costly or not len(rows):
            raise InputError(
                f"A picture of accuracy against {columns[0].replace('_', ' ')} needs a variant that ran to its end and has "
                f"that number, but {search_id} has none; name another search, or wait for its first."
            )
        column = costly[0]
        note = f"{what_is_drawn(table, rows)}; grey line: Pareto front of the means"
        figure = page(_title(frames, search_id), width=7, height=4.8, note=note)
        ax = figure.subplots()
        accuracy_against(frames, search_id, column, ax, front=True)
        tidy(ax)
        return figure

    return draw


def _parallel(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    halted = stopped(table)
    wanted = _keys(table, rows, halted, keys, f"Parallel coordinates of {search_id}")
    others = f"; grey dashes: {len(halted)} stopped early" if len(halted) else ""
    if not keys and len(wanted) > MOST_AXES:
        others += f"; {len(wanted) - MOST_AXES} keys of fewer variants are drawn by --key"
        wanted = wanted[:MOST_AXES]
    figure = page(
        _title(frames, search_id), width=max(7.0, 2.5 + 1.25 * len(wanted)), height=4.8,
        note=what_is_drawn(table, rows, halted) + others,
    )  # fmt: skip
    ax = figure.subplots()
    parallel(rows, wanted, ax, stopped=halted)
    values = list(rows["val_acc"])
    colour_bar(ax, accuracy_colours(values), values)
    return figure


def _slice(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    halted = stopped(table)
    wanted = [
        key for key in _keys(table, rows, halted, keys, f"Slices of {search_id}") if rows[key].notna().any()
    ]  # only stopped ones may have it
    columns = min(PANELS_A_ROW, len(wanted))
    lines = math.ceil(len(wanted) / columns)
    others = (
        f"; grey crosses: {len(halted)} stopped early, whose accuracies belong to earlier epochs" if len(halted) else ""
    )
    figure = page(
        _title(frames, search_id), width=max(6.0, 2.9 * columns), height=2.6 * lines + 1.3,
        note=what_is_drawn(table, rows, halted) + others,
    )  # fmt: skip
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    names = families(rows)
    styles = styles_of(set(names))
    for ax in panels.flat[len(wanted) :]:
        ax.set_visible(False)
    for ax, key in zip(panels.flat, wanted, strict=False):
        key_slice(rows, key, ax, styles=styles, stopped=halted)
        tidy(ax)
    figure.supylabel("validation accuracy (%)", fontsize=9)
    handles = {
        name: mark
        for ax in panels.flat[: len(wanted)]
        for mark, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _contour(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    known = searched(rows, table.varying)
    for key in chosen(known, keys) if keys else []:
        if not is_number(rows[key]):
            raise InputError(f"A contour needs keys that are numbers, but {key!r} is not; name two others by --key.")
    if keys and len(set(keys)) != 2:
        raise InputError(f"A contour needs two keys, but got {len(set(keys))}; name them as --key KEY --key KEY.")
    pair = (keys[0], keys[1]) if keys else best_pair(rows, known) if len(rows) else None
    drawn = having(rows, *pair) if pair else rows
    if pair is None or len(drawn) < LEAST:
        raise InputError(
            "A contour needs variants that ran to their end with two different numbers in each of two keys, but "
            f"{search_id} has none{' in ' + ' and '.join(keys) if keys else ''}; name another search or other keys."
        )
    halted = having(stopped(table), *pair)
    figure = page(_title(frames, search_id), width=6.6, height=5.2, note=" ")
    ax = figure.subplots()
    has_surface = contour(drawn, *pair, ax, stopped=halted)
    note = f"{counted(len(drawn), 'variant')} with both keys; {what_is_drawn(table, rows, stopped(table))}"
    note += "; other keys differ, too" if len(known) > 2 else ""
    note += f"; crosses: {len(halted)} stopped early" if len(halted) else ""
    note += "" if has_surface else "; too few places for contours"
    _note(figure, note, 6.6)
    values = list(drawn["val_acc"])
    colour_bar(ax, accuracy_colours(values), values)
    return figure


def _timeline(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    search = frames.search(search_id)
    trials = frames.trials_of(search_id, tuning=True)
    begun = trials[trials["started"].notna()] if len(trials) else trials
    if not len(begun):
        raise InputError(
            f"A picture over time needs trials whose start is recorded, but {search_id} has none; name another search."
        )
    decisions = frames.decisions[frames.decisions["trial_id"].isin(begun["id"])]
    moments = [search["heartbeat"], *begun["started"], *begun["ended"], *decisions["created"]]
    until = max(moment for moment in moments if not pd.isna(moment))
    slots = len(set(lanes(begun, until).values()))
    note = "Number: the trial's. Slots are packed by start and end: which of several equal GPUs it was is not recorded"
    waiting = len(trials) - len(begun)
    note += f"; left out: {waiting} not begun" if waiting else ""
    pale = "; pale: took more than twice as long as it trained (it waited, or was resumed)"
    figure = page(_title(frames, search_id), width=9, height=2.1 + (0.42 if slots <= 8 else 0.32) * slots, note=" ")
    ax = figure.subplots()
    if timeline(begun, decisions, ax, until=until):
        note += pale
    _note(figure, note, 9)
    return figure


def _tree_shapes(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    kinds = tree_kinds(rows) if len(rows) else []
    if not kinds:
        raise InputError(
            "A heat map of depth x trees needs trees of at least two depths and two numbers of trees that ran to their "
            f"end, but {search_id} has none; name another search."
        )
    shapes = {kind: of_kind(rows, kind) for kind in kinds}
    drawn = pd.concat(list(shapes.values()))
    width = 1.6 + sum(1.2 + 0.95 * trees["depth"].nunique() for trees in shapes.values())
    tallest = max(trees["trees"].nunique() for trees in shapes.values())
    others = len(rows) - len(drawn)
    note = what_is_drawn(table, rows) + (
        f"; not in the map: {counted(others, 'variant')} of other kinds" if others else ""
    )
    note += "; ±: 95 % t interval" if drawn["interval"].notna().any() else ""
    figure = page(_title(frames, search_id), width=max(6.0, width), height=2.3 + 0.62 * tallest, note=note)
    values = list(drawn["val_acc"])
    norm = accuracy_colours(values)
    panels = figure.subplots(1, len(kinds), squeeze=False).flat
    for ax, (kind, trees) in zip(panels, shapes.items(), strict=True):
        shape_map(trees, ax, norm)
        ax.set_title(kind, fontsize=9)
    colour_bar(list(figure.axes), norm, values)
    return figure


def _best_so_far(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    trials = frames.trials_of(search_id, tuning=True)
    column = "gpu_seconds" if len(trials) and (trials["gpu_seconds"].fillna(0) > 0).any() else "wall_seconds"
    found = steps(rows, trials, column) if len(rows) else rows
    if not len(found):
        raise InputError(
            "A picture of the best so far needs a variant that ran to its end at a recorded time, but "
            f"{search_id} has none; name another search, or wait for its first."
        )
    note = what_is_drawn(table, found) + ("" if column == "gpu_seconds" else "; no GPU was used: time of training")
    figure = page(_title(frames, search_id), width=7, height=4.6, note=note)
    ax = figure.subplots()
    best_so_far(
        found, float(trials[column].fillna(0).sum()), column, ax, styles=styles_of(set(families(found))),
        tuned=tuned_at(trials, column),
    )  # fmt: skip
    tidy(ax)
    return figure


def _level_rates(frames: Frames, search_id: str, keys: Sequence[str]) -> Figure:
    table, rows = _variants(frames, search_id)
    shared = {key: value for key, value in table.common.items() if key.endswith(f".{EQUAL_MEAN}")}
    lines = rate_lines(rows.assign(**shared), searched(rows, table.varying)) if len(rows) else []
    if not lines:
        raise InputError(
            f"A picture of level rates needs variants that ran to their end and differ in {RATIO} alone, but {search_id} "
            "has none; experiments/level_rates.py is such a comparison."
        )
    drawn = pd.concat([line.rows for line in lines]).drop_duplicates("variant")
    others = len(rows) - len(drawn)
    note = what_is_drawn(table, rows) + (
        f"; left out, without another ratio: {counted(others, 'variant')}" if others else ""
    )
    note += "; bars: 95 % t intervals" if drawn["interval"].notna().any() else ""
    figure = page(_title(frames, search_id), width=7.4, height=4.8, note=note)
    ax = figure.subplots()
    level_effect(lines, ax)
    tidy(ax)
    return figure


def _variants(frames: Frames, search_id: str) -> tuple[Table, pd.DataFrame]:
    table = variants(frames, search_id, everything=True)
    return table, measured(table)


def _keys(table: Table, rows: pd.DataFrame, halted: pd.DataFrame, keys: Sequence[str], what: str) -> list[str]:
    """The keys to draw. Raises InputError where there are none, or too few variants."""
    known = searched(pd.concat([rows, halted]) if len(halted) else rows, table.varying) if len(rows) else []
    if len(rows) < LEAST or not known:
        raise InputError(
            f"{what} need two variants that ran to their end and differ in a key, but there "
            f"{'is one' if len(rows) == 1 else 'are ' + (str(len(rows)) if len(rows) else 'none')}; name another search."
        )
    return chosen(known, keys)


def _note(figure: Figure, note: str, width: float) -> None:
    figure.supxlabel(wrapped(note, width * 1.15), fontsize=8, color="0.3")


PICTURES: dict[str, Picture] = {
    "curves": Picture("validation accuracy by epoch of every trial, with the rungs of its scheduler", _curves),
    "parameters": Picture("accuracy against parameters, with intervals and the Pareto front", _cost("parameters")),
    "neurons": Picture("accuracy against neurons used for one input", _cost("neurons_used")),
    "macs": Picture("accuracy against multiply-adds an image", _cost("macs")),
    "macs-conditional": Picture("accuracy against multiply-adds in the conditional form", _cost("macs_conditional")),
    "latency": Picture("accuracy against seconds for one image on one CPU thread", _cost("latency_seconds")),
    "seconds": Picture(
        "accuracy against GPU-seconds of a trial, wall seconds on a CPU", _cost("gpu_seconds", "wall_seconds")
    ),
    "parallel": Picture(
        "the searched keys as parallel coordinates, darker where more accurate", _parallel, of_keys=True
    ),
    "slice": Picture("accuracy against each searched key, one panel a key", _slice, of_keys=True),
    "contour": Picture("accuracy over two searched keys", _contour, of_keys=True),
    "timeline": Picture("which trial ran where and when, rungs and ends marked", _timeline),
    "tree-shapes": Picture("accuracy of trees by depth and number of trees, a heat map", _tree_shapes),
    "best-so-far": Picture("the best variant so far against GPU-hours, hours of training on a CPU", _best_so_far),
    "level-rates": Picture("accuracy against level_lr_ratio, one line a learning rate", _level_rates),
}
"""By the name that `python -m results.plot --kind` takes."""
