"""All points of a small space, in a fixed order: what is left to try where a sampler's draws only repeat themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import optuna

MOST = 10_000
"""Points that are walked. A larger space is not, nor one with a range that has no steps."""
Value = TypeVar("Value")


class Path(optuna.trial.FixedTrial):
    """In place of a trial: at each key takes the value of that place in what is offered, and the first beyond `turns`."""

    def __init__(self, turns: Sequence[int]) -> None:
        super().__init__({})
        self._turns = turns
        self.taken: list[tuple[int, int]] = []
        """At each key the place that was taken, and the number of values that were offered."""
        self.drawn: dict[str, Any] = {}
        self.endless = False
        """Whether a key has a range without steps."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return self._take(name, range(low, high + 1, step))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.endless = self.endless or low < high
        return self._take(name, (low,))

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        return self._take(name, choices)

    def _take(self, name: str, offered: Sequence[Value]) -> Value:
        if name not in self.drawn:  # a second ask has the same answer, as Optuna gives it
            if not offered:
                raise ValueError("there is nothing between its bounds")
            depth = len(self.taken)
            turn = self._turns[depth] if depth < len(self._turns) else 0
            self.taken.append((turn, len(offered)))
            self.drawn[name] = offered[turn]
        value: Value = self.drawn[name]
        return value


def points(compose: Callable[[Path], Value]) -> list[tuple[dict[str, Any], Value]] | None:
    """What each point of a space draws, and what the space makes of it; none where it is too large to be walked.

    Args:
        compose: the space, which may ask for other keys after other answers.
    """
    found: list[tuple[dict[str, Any], Value]] = []
    turns: list[int] = []
    while True:
        path = Path(turns)
        made = compose(path)
        if path.endless or len(found) == MOST or math.prod(offered for _, offered in path.taken) > MOST:
            return None
        found.append((path.drawn, made))
        while path.taken and path.taken[-1][0] + 1 == path.taken[-1][1]:
            path.taken.pop()
        if not path.taken:
            return found
        turns = [turn for turn, _ in path.taken]
        turns[-1] += 1
