"""The time and the GPU-hours that a session may use."""

from __future__ import annotations

import math
from collections.abc import Callable


class Budget:
    """What is left of both; infinite where nothing was given.

    Args:
        seconds: on the clock, from now on.
        gpu_hours: that live trials may hold GPUs for, together.
        gpus_per_trial: a share of a GPU, or 0.
        clock: seconds that only grow.
    """

    def __init__(
        self, *, seconds: float | None, gpu_hours: float | None, gpus_per_trial: float, clock: Callable[[], float]
    ) -> None:
        self._clock, self._gpus = clock, gpus_per_trial
        self._deadline = clock() + seconds if seconds else math.inf
        self._gpu_seconds_left = gpu_hours * 3600 if gpu_hours is not None else math.inf
        self._live, self._counted_until = 0, clock()

    def hold(self, live: int) -> None:
        """So many trials hold their GPUs from now on."""
        self._count()
        self._live = live

    @property
    def used_up(self) -> bool:
        """Whether either is."""
        return self.seconds_left < 0 or self.gpu_hours_left <= 0

    @property
    def seconds_left(self) -> float:
        return self._deadline - self._clock()

    @property
    def gpu_hours_left(self) -> float:
        self._count()
        return self._gpu_seconds_left / 3600

    def _count(self) -> None:
        """Take off what the live trials have used since the last call."""
        now = self._clock()
        self._gpu_seconds_left -= self._live * self._gpus * (now - self._counted_until)
        self._counted_until = now
