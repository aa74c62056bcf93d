"""The effect of level rates: accuracy against `level_lr_ratio`, one line a learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from results.plots.keys import having, short_name
from results.plots.style import COLOURS, MARKERS, accuracy_axis
from results.text import missing, short

RATIO, EQUAL_MEAN = "level_lr_ratio", "level_lr_equal_mean"
NAMED = 14
"""Lines that the legend names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Variants that differ in `level_lr_ratio` alone."""

    name: str
    equal_mean: bool
    """Whether the factors of the levels were divided by their mean."""
    lr: float | None
    rows: pd.DataFrame
    """With `ratio`, in rising order."""


def rate_lines(rows: pd.DataFrame, keys: Sequence[str]) -> list[Line]:
    """The lines of two ratios or more among variants that ran to their end; `keys` are those in which they differ.

    At a ratio of 1 all levels have one rate, whether or not their mean is kept: such a variant is a point of both lines.
    """
    ratios = [key for key in keys if key.endswith(f".{RATIO}")]
    found: list[Line] = []
    for key in ratios:
        kind = key.split(".")[1]
        equal = f"ffn.{kind}.{EQUAL_MEAN}"
        own = having(rows, key)
        own = own.assign(ratio=own[key].astype(float))
        is_equal = own[equal].map(lambda value: value is True) if equal in own else pd.Series(False, index=own.index)
        shared = own[(own["ratio"] == 1) & ~is_equal]
        own = pd.concat([own.assign(equal_mean=is_equal), shared.assign(equal_mean=True)])
        others = [name for name in keys if name not in (key, equal, "ffn") and not own[name].map(missing).all()]
        told = [name for name in others if own[name].map(repr).nunique() > 1]
        for _, line in own.groupby([own["equal_mean"], *(own[name].map(repr) for name in others)], sort=True):
            line = line.sort_values("ratio")
            if line["ratio"].nunique() < 2:
                continue
            first = line.iloc[0]
            words = [f"{short_name(name)}={short(first[name])}" for name in told]
            if len(ratios) > 1:
                words.insert(0, kind)
            is_even = bool(first["equal_mean"])
            name = " ".join(words) + (", equal mean rate" if is_even else "")
            rate = first["lr"] if "lr" in line else None
            found.append(Line(name=name.strip(", ") or kind, equal_mean=is_even, lr=rate, rows=line))
    return sorted(found, key=lambda line: (line.equal_mean, line.lr or 0.0, line.name))


def level_effect(lines: Sequence[Line], ax: Axes) -> None:
    """Validation accuracy against the ratio of one level's rate to that of the level below, 95 % t intervals over seeds.

    rate(level) = lr ratio^(depth - level): below 1 the root learns most slowly. That lowers the mean rate of the tree, too;
    lines of equal mean rate are dashed and hollow, in the colour of their learning rate.
    """
    rates = sorted({line.lr for line in lines if line.lr is not None})
    ratios = sorted({float(ratio) for line in lines for ratio in line.rows["ratio"]})
    gap = min((b - a for a, b in pairwise(ratios)), default=0.1)
    several = len(rates) > 1
    for number, line in enumerate(lines):
        hue = rates.index(line.lr) if several and line.lr is not None else number
        aside = (number - (len(lines) - 1) / 2) * min(0.1 * gap, 0.5 * gap / len(lines))  # so that intervals stay apart
        errors = line.rows["interval"].fillna(0.0)
        ax.errorbar(
            [ratio + aside for ratio in line.rows["ratio"]], list(line.rows["val_acc"]),
            yerr=list(errors) if (errors > 0).any() else None, color=COLOURS[hue % len(COLOURS)],
            marker=MARKERS[hue % len(MARKERS)], markersize=5.5, markerfacecolor="white" if line.equal_mean else None,
            linewidth=1.4, elinewidth=0.9, capsize=2.5, linestyle=(0, (4, 2)) if line.equal_mean else "-",
            label=line.name if number < NAMED else f"_{line.name}",
        )  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator(ratios))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("level_lr_ratio: rate of a level over that of the level below it (1: all levels alike)")
    accuracy_axis(ax)
    title = f"the first {NAMED} of {len(lines)} lines" if len(lines) > NAMED else None
    ax.legend(fontsize=8, frameon=False, title=title, title_fontsize=8, loc="best")
