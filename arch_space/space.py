"""What a variant's `suggest` draws from: a scope. The search has one by Optuna; here is one by `random`."""

import math
import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

Choice = TypeVar("Choice")
# Inside the classes below, `int` and `float` are methods: annotations need other names for the types.
Int: TypeAlias = int
Float: TypeAlias = float


class Scope(Protocol):
    """Draws named values; both bounds belong to the range. `log` draws evenly in the logarithm (low must be > 0)."""

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        """An integer low, low + step, ... up to high."""
        ...

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        """A number from low to high."""
        ...

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """One of the choices."""
        ...


class RandomScope:
    """A scope that draws at random, the same for the same seed; `drawn` keeps what it gave."""

    def __init__(self, seed: Int = 0) -> None:
        self._random = random.Random(seed)
        self.drawn: dict[str, Any] = {}

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        """Raises ValueError for an empty range, or `log` with a step or from zero."""
        _check(name, low, high, log)
        if log and step != 1:
            raise ValueError(f"The range of {name!r} must have either log or step, but got both (step={step}).")
        if log:
            # half a unit beyond both ends, so that the ends are as likely as their neighbours
            value = round(math.exp(self._random.uniform(math.log(low - 0.5), math.log(high + 0.5))))
            value = min(max(value, low), high)
        else:
            value = self._random.randrange(low, high + 1, step)
        self.drawn[name] = value
        return value

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        """Raises ValueError for an empty range, or `log` from zero."""
        _check(name, low, high, log)
        if log:
            value = math.exp(self._random.uniform(math.log(low), math.log(high)))
        else:
            value = self._random.uniform(low, high)
        self.drawn[name] = min(max(value, low), high)
        return min(max(value, low), high)

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        """Raises ValueError without choices."""
        if not choices:
            raise ValueError(f"The choices of {name!r} must not be empty.")
        value = self._random.choice(choices)
        self.drawn[name] = value
        return value


def _check(name: str, low: Float, high: Float, log: bool) -> None:
    if low > high:
        raise ValueError(f"The range of {name!r} must not be empty, but got (low={low}, high={high}).")
    if log and low <= 0:
        raise ValueError(f"The range of {name!r} must start above 0 to be logarithmic, but got (low={low}).")


class _Prefixed:
    def __init__(self, scope: Scope, prefix: str) -> None:
        self._scope = scope
        self._prefix = prefix

    def int(self, name: str, low: Int, high: Int, *, log: bool = False, step: Int = 1) -> Int:
        return self._scope.int(self._prefix + name, low, high, log=log, step=step)

    def float(self, name: str, low: Float, high: Float, *, log: bool = False) -> Float:
        return self._scope.float(self._prefix + name, low, high, log=log)

    def categorical(self, name: str, choices: Sequence[Choice]) -> Choice:
        return self._scope.categorical(self._prefix + name, choices)


def prefixed(scope: Scope, prefix: str) -> Scope:
    """`scope` under a prefix: the variant says "hidden", the study sees "ffn.mlp.hidden"."""
    return _Prefixed(scope, prefix)
