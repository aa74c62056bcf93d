"""Workers that have fallen silent: how long one may say nothing, and which have said nothing for longer.

A worker is heard once an epoch. It may be silent for `times` its expected epoch: the longest of its trial's own epochs;
before it has any, the longest epoch of another trial of its feed-forward kind in the same search. A worker's first report
gets `START_SECONDS` on top, for the start of libraries, loading data and compiling, and `UNKNOWN_SECONDS` where nothing is
known to compare with.

Silence is measured in time during which the driver itself was awake. A driver that was suspended, or waited for its
database, finds the reports of that time in its queue, and must not kill those who wrote them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

TIMES = 20.0
"""The default of `--watchdog`."""
SHORTEST_EPOCH_SECONDS = 3.0
"""No epoch is taken to be shorter: a machine's hiccup is not."""
START_SECONDS = 600.0
UNKNOWN_SECONDS = 3600.0
LONGEST_STEP_SECONDS = 1.0
"""A driver that is awake looks several times a second; of a longer gap between two looks only so much counts."""


@dataclass(slots=True)
class _Watched:
    kind: str
    heard: float
    """When it was heard last, or began, in awake seconds."""
    reported: bool = False
    """Whether this worker has reported anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """A worker that has said nothing for too long."""

    trial_id: str
    seconds: float
    allowed: float

    @property
    def in_words(self) -> str:
        return f"the trial's worker was silent for {self.seconds:.0f} s, where {self.allowed:.0f} s were allowed"


class Watchdog:
    """Watches the workers of one driver.

    Args:
        times: of the expected epoch; 0 watches nothing.
        clock: seconds that only grow.
    """

    def __init__(self, times: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.times, self._clock = times, clock
        self._last_look, self._awake = clock(), 0.0
        self._watched: dict[str, _Watched] = {}
        self.killed: dict[str, str] = {}
        """Why, by trial, until Tune has found the worker gone."""
        self._longest: dict[str, float] = {}
        self._longest_of_kind: dict[str, float] = {}

    def knows(self, trial_id: str) -> bool:
        """Whether this trial's worker is being watched."""
        return trial_id in self._watched

    def learn(self, trial_id: str, kind: str, epoch_seconds: float) -> None:
        """An epoch of a trial took so long."""
        self._longest[trial_id] = max(epoch_seconds, self._longest.get(trial_id, 0.0))
        self._longest_of_kind[kind] = max(epoch_seconds, self._longest_of_kind.get(kind, 0.0))

    def began(self, trial_id: str, kind: str) -> None:
        """A worker has been given this trial."""
        self._watched[trial_id] = _Watched(kind, self._awake)

    def heard(self, trial_id: str) -> None:
        """Its worker has said something."""
        if (watched := self._watched.get(trial_id)) is not None:
            watched.heard, watched.reported = self._awake, True

    def ended(self, trial_id: str) -> None:
        """It has no worker any more."""
        self._watched.pop(trial_id, None)

    def keep_only(self, trial_ids: Collection[str]) -> None:
        """All others have no worker any more."""
        for trial_id in self._watched.keys() - set(trial_ids):
            self.ended(trial_id)

    def look(self) -> list[Silence]:
        """Those that have been silent for too long; each is named once, and watched no more. Call often."""
        now = self._clock()
        self._awake += min(now - self._last_look, LONGEST_STEP_SECONDS)
        self._last_look = now
        if self.times <= 0:
            return []
        silent = [
            Silence(trial_id=trial_id, seconds=self._awake - watched.heard, allowed=self._allowed(trial_id, watched))
            for trial_id, watched in self._watched.items()
        ]
        silent = [each for each in silent if each.seconds > each.allowed]
        for each in silent:
            self.ended(each.trial_id)
        return silent

    def _allowed(self, trial_id: str, watched: _Watched) -> float:
        expected = self._longest.get(trial_id) or self._longest_of_kind.get(watched.kind)
        if expected is None:
            return UNKNOWN_SECONDS
        return self.times * max(expected, SHORTEST_EPOCH_SECONDS) + (0.0 if watched.reported else START_SECONDS)
