"""Which keys of a search were searched, and how the values of one lie along an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from results.errors import InputError
from results.ids import unknown
from results.text import missing, plain, short

LOG_SPAN = 8
"""A key whose greatest value is so many times its least lies on a logarithmic axis."""
MARGIN = 0.06
"""Room beyond the ends of an axis, a share of it."""
FEW = 6
"""Up to so many values, each has its tick."""


def searched(rows: pd.DataFrame, varying: Sequence[str]) -> list[str]:
    """The keys of `varying` that have two different values in these rows: the kind, then those that most rows have."""
    keys = [key for key in varying if key in rows and len(_known(rows[key])) > 1]
    return sorted(keys, key=lambda key: (key != "ffn", sum(map(missing, rows[key]))))


def chosen(keys: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The wanted ones of the searched keys, all where none is wanted.

    Raises:
        InputError: a key that was not searched, with the nearest one.
    """
    for key in wanted:
        if key not in keys:
            raise InputError(unknown("searched key", key, keys))
    return list(dict.fromkeys(wanted)) or list(keys)


def having(rows: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """The rows whose variants have all of these keys."""
    return rows.loc[[not any(map(missing, values)) for values in zip(*(rows[key] for key in keys), strict=True)]]


def is_number(values: pd.Series) -> bool:
    """Whether all known values of a key are numbers; truth values are none."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in _known(values))


def short_name(key: str) -> str:
    """`fff.depth` for `ffn.fff.depth`."""
    return plain(key.removeprefix("ffn."))


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one key lie along an axis: numbers linearly or by their logarithm, others as even steps."""

    values: tuple[Any, ...]
    """Those that are known, in order."""
    kind: str
    """linear, log or steps."""

    @classmethod
    def of(cls, values: pd.Series) -> Scale:
        """That of a key with these values, at least one of them known."""
        known = _known(values)
        if not is_number(values):
            return cls(tuple(sorted(known, key=str)), "steps")
        ordered = tuple(sorted(known))
        return cls(ordered, "log" if ordered[0] > 0 and ordered[-1] / ordered[0] >= LOG_SPAN else "linear")

    def coordinate(self, value: Any) -> float:
        """Where a value stands on a matplotlib axis that `dress` has dressed: itself, or the number of its step."""
        return float(self.values.index(value)) if self.kind == "steps" else float(value)

    def share(self, value: Any) -> float:
        """Where a value stands between the least (0) and the greatest (1)."""
        if len(self.values) == 1:
            return 0.5
        if self.kind == "steps":
            return self.coordinate(value) / (len(self.values) - 1)
        if self.kind == "log":
            return math.log(value / self.values[0]) / math.log(self.values[-1] / self.values[0])
        return float((value - self.values[0]) / (self.values[-1] - self.values[0]))

    def scaled(self, values: pd.Series) -> list[float]:
        """Values of numbers as a matplotlib axis scales them: themselves, or their logarithms to base 10."""
        return [math.log10(value) if self.kind == "log" else float(value) for value in values]

    def ticks(self, gap: float = 0.05, character: float = 0.0) -> list[tuple[Any, str]]:
        """Values to be named, and their names: all where they are few, else round ones between the ends.

        Args:
            gap: the least distance of two names, a share of the axis.
            character: what a character of a name takes of it, where names stand side by side.
        """
        if self.kind == "steps":
            return [(value, plain(short(value))) for value in self.values]
        low, high = self.values[0], self.values[-1]
        inner: Sequence[Any] = self.values[1:-1]
        if len(self.values) > FEW:
            inner = _round_logs(low, high) if self.kind == "log" else _round_numbers(low, high)
        kept: list[tuple[Any, str]] = []
        for value in (low, high, *inner):  # the ends first: what lies too close to them is not named
            text = plain(short(value))
            room = (gap + character * (len(text) + len(other)) / 2 for _, other in kept)
            if all(abs(self.share(value) - self.share(at)) > free for (at, _), free in zip(kept, room, strict=True)):
                kept.append((value, text))
        return sorted(kept)

    def dress(self, axis: Axis, *, is_x: bool, character: float = 0.0) -> None:
        """Make a matplotlib axis one of this key; `character` as in `ticks`."""
        if self.kind == "log":
            (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
        named = {self.coordinate(value): text for value, text in self.ticks(character=character)}
        axis.set_major_locator(FixedLocator(list(named)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: named.get(value, "")))
        axis.set_minor_locator(NullLocator())
        if is_x and self.kind == "steps" and character * sum(len(text) + 2 for text in named.values()) > 1:
            for label in axis.get_ticklabels():  # side by side the names would run into each other
                label.set(rotation=30, ha="right", rotation_mode="anchor")
        (axis.axes.set_xlim if is_x else axis.axes.set_ylim)(self._limits())

    def _limits(self) -> tuple[float, float]:
        """From a little below the least value to a little above the greatest."""
        if self.kind == "steps":
            return -0.5, len(self.values) - 0.5
        low, high = float(self.values[0]), float(self.values[-1])
        if self.kind == "log":
            room = (high / low) ** MARGIN
            return low / room, high * room
        room = MARGIN * (high - low) or 0.5
        return low - room, high + room


def _known(values: pd.Series) -> list[Any]:
    """Different values that are there; 8 and 8.0, which a missing neighbour makes of it, are one, told as 8."""
    found = [value for value in values if not missing(value)]
    return list(
        dict.fromkeys(int(value) if isinstance(value, float) and value.is_integer() else value for value in found)
    )


def _round_logs(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if math.log10(high / low) > 2.5 else (1, 2, 5) if math.log10(high / low) < 1.7 else (1, 3)
    return [step * 10.0**power for power in powers for step in steps if low < step * 10.0**power < high]


def _round_numbers(low: float, high: float) -> list[float]:
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda size: abs(size - rough))
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
