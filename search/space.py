"""The conditional search space: what an experiment's `space` function sees, and how Optuna hears of it.

    def space(scope: Scope) -> Flat:
        return {"lr": scope.float("lr", 3e-4, 3e-3, log=True), **suggest_ffn(scope, ("mlp", "fff"))}

The space is typed and conditional by construction: a key of the tree is asked for only where the kind is a tree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import optuna

from arch_space.flat import FieldError, convert, to_flat
from arch_space.registry import FFN
from arch_space.space import Choice, Float, Int, Scope, prefixed
from results.errors import InputError
from trainer.config import Flat, FlatValue


def suggest_ffn(scope: Scope, kinds: Sequence[str]) -> Flat:
    """A feed-forward kind among `kinds`, and then that kind's own keys, as its file suggests them.

    A key that the kind does not ask for and leaves at its default is not given: the experiment's `base` may have it.

    Raises:
        InputError: an unknown kind; a fixed key, or an experiment's range, gives the kind what it refuses.
    """
    kind = scope.categorical("ffn", tuple(kinds))
    prefix, asking = f"ffn.{kind}.", Asking(scope)
    try:
        config_class = FFN.config(kind)
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        config = config_class.suggest(prefixed(asking, prefix))
    except FieldError as error:
        raise InputError(str(error.under(prefix))) from error
    default = to_flat(config_class(), prefix)
    own = to_flat(config, prefix).items()
    return {"ffn": kind, **{key: value for key, value in own if key in asking.asked or value != default.get(key)}}


class Asking:
    """A scope that keeps the names which it was asked for."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.asked: set[str] = set()

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        self.asked.add(name)
        return self._scope.int(name, low, high, log=log, step=step)

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        self.asked.add(name)
        return self._scope.float(name, low, high, log=log)

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        self.asked.add(name)
        return self._scope.categorical(name, choices)


class StudyScope:
    """A scope that asks an Optuna trial, within an experiment's narrower ranges, and never for what is fixed.

    Args:
        points: for a grid, how many values stand for a whole range.
    """

    def __init__(
        self,
        trial: optuna.trial.BaseTrial,
        ranges: Mapping[str, tuple[float, float]],
        fixed: Mapping[str, FlatValue],
        points: Int | None = None,
    ) -> None:
        self._trial, self._ranges, self._fixed, self._points = trial, ranges, fixed, points
        self.given: set[str] = set()
        """The fixed keys that were asked for, and have been converted."""

    def __getattr__(self, name: str) -> NoReturn:
        """Names what a scope has, since the methods of an Optuna trial are what one tries first."""
        known = ("float", "int", "categorical")
        meant = [f"scope.{each}" for each in known if name == f"suggest_{each}"]
        hint = meant[0] if meant else ", ".join(f"scope.{each}" for each in known[:-1]) + f" or scope.{known[-1]}"
        raise AttributeError(f"a scope has no {name!r}; use {hint}", name=name, obj=self)

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        if name in self._fixed:
            return int(self._fixed_number(name, whole=True))
        bounds = self._ranges.get(name, (low, high))
        low, high = int(bounds[0]), int(bounds[1])
        if self._points is not None:
            return self._asked(name, lambda: self._of(name, whole_points(low, high, self._points or 1, log, step)))
        return self._asked(name, lambda: self._trial.suggest_int(name, low, high, log=log, step=step))

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        if name in self._fixed:
            return self._fixed_number(name, whole=False)
        low, high = self._ranges.get(name, (low, high))
        if self._points is not None:
            return self._asked(name, lambda: self._of(name, even_points(low, high, self._points or 1, log)))
        return self._asked(name, lambda: self._trial.suggest_float(name, low, high, log=log))

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        choices = [getattr(choice, "item", lambda own=choice: own)() for choice in choices]  # of numpy's scalars
        if name not in self._fixed:
            return self._asked(name, lambda: self._of(name, choices))
        value = self._fixed[name]
        self.given.add(name)
        for choice in choices:
            if _is(choice, value, name):
                return choice
        raise InputError(f"The space offers {', '.join(map(str, choices))} for {name!r}, but it is fixed to {value}.")

    def _of(self, name: str, choices: Sequence[Choice]) -> Choice:
        chosen: Any = self._trial.suggest_categorical(name, tuple(choices))  # type: ignore[arg-type]
        return chosen

    def _asked(self, name: str, ask: Callable[[], Choice]) -> Choice:
        """What Optuna answers. Raises InputError where the range is impossible, or the sampler cannot search this space."""
        try:
            return ask()
        except ModuleNotFoundError as error:
            raise InputError(
                f"This sampler needs the package {error.name!r}: install that, or take another."
            ) from error
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"The key {name!r} cannot be sampled: {' '.join(str(error).split())}") from error

    def _fixed_number(self, name: str, *, whole: bool) -> Float:
        value = self._fixed[name]
        self.given.add(name)
        try:
            return int(str(value)) if whole else float(str(value))
        except ValueError as error:
            raise InputError(f"{name!r} must be {'an integer' if whole else 'a number'}, but got {value!r}.") from error


def _is(choice: object, value: object, name: str) -> bool:
    """Whether a fixed value, which may be text, stands for this choice: 1e-3 for 0.001, 0 for 0.0, none for None."""
    if choice is None:
        return convert(str | None, str(value), name) is None
    kinds = {bool: bool, int: float, float: float}
    try:
        return bool(convert(kinds.get(type(choice), str), value, name) == choice)
    except FieldError:  # it is of another type
        return str(choice) == str(value)


def even_points(low: Float, high: Float, count: Int, log: bool) -> list[Float]:
    """So many numbers from `low` to `high`, both included, at even distances (of their logarithms)."""
    if low == high or count == 1:
        return [low]
    parts = [index / (count - 1) for index in range(1, count - 1)]
    if log:
        inner = [math.exp(math.log(low) + part * (math.log(high) - math.log(low))) for part in parts]
    else:
        inner = [low + part * (high - low) for part in parts]
    return [low, *inner, high]  # the ends as they were given, not as rounding would have them


def whole_points(low: Int, high: Int, count: Int, log: bool, step: Int) -> list[Int]:
    """At most so many integers from `low`, `low + step`, ... up to `high`, nearly at even distances."""
    last = (high - low) // step
    if last < count:
        return [low + step * index for index in range(last + 1)]
    near = (round((point - low) / step) for point in even_points(low, high, count, log))
    return sorted({low + step * min(index, last) for index in near})
