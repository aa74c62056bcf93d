"""The conditional search space: what an experiment's `space` function sees, and how Optuna hears of it.

    def space(scope: Scope) -> Flat:
        return {"lr": scope.float("lr", 3e-4, 3e-3, log=True), **suggest_ffn(scope, ("mlp", "fff"))}

The space is typed and conditional by construction: a key of the tree is asked for only where the kind is a tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from arch_space.flat import FieldError, to_flat
from arch_space.registry import FFN
from arch_space.space import Choice, Float, Int, Scope, prefixed
from results.errors import InputError
from trainer.config import Flat, FlatValue


def suggest_ffn(scope: Scope, kinds: Sequence[str]) -> Flat:
    """A feed-forward kind among `kinds`, and then that kind's own keys, as its file suggests them.

    Raises:
        InputError: a fixed key, or an experiment's range, gives the kind what it refuses.
    """
    kind = scope.categorical("ffn", tuple(kinds))
    prefix = f"ffn.{kind}."
    try:
        config = FFN.config(kind).suggest(prefixed(scope, prefix))
    except FieldError as error:
        raise InputError(str(error.under(prefix))) from error
    return {"ffn": kind, **to_flat(config, prefix)}


class StudyScope:
    """A scope that asks an Optuna trial, within an experiment's narrower ranges, and never for what is fixed."""

    def __init__(
        self,
        trial: optuna.trial.BaseTrial,
        ranges: Mapping[str, tuple[float, float]],
        fixed: Mapping[str, FlatValue],
    ) -> None:
        self._trial, self._ranges, self._fixed = trial, ranges, fixed

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        if name in self._fixed:
            return int(self._fixed_number(name, whole=True))
        bounds = self._ranges.get(name, (low, high))
        low, high = int(bounds[0]), int(bounds[1])
        return self._trial.suggest_int(name, low, high, log=log, step=step)

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        if name in self._fixed:
            return self._fixed_number(name, whole=False)
        low, high = self._ranges.get(name, (low, high))
        return self._trial.suggest_float(name, low, high, log=log)

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        if name not in self._fixed:
            chosen: Any = self._trial.suggest_categorical(name, tuple(choices))  # type: ignore[arg-type]
            return chosen
        value = self._fixed[name]
        for choice in choices:
            if str(choice) == str(value):
                return choice
        raise InputError(f"The space offers {', '.join(map(str, choices))} for {name!r}, but it is fixed to {value}.")

    def _fixed_number(self, name: str, *, whole: bool) -> Float:
        value = self._fixed[name]
        try:
            return int(str(value)) if whole else float(str(value))
        except ValueError as error:
            raise InputError(f"{name!r} must be {'an integer' if whole else 'a number'}, but got {value!r}.") from error
