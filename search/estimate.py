"""What a search takes: its trials laid out on its slots, one after another, at measured speeds."""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from search.measured import Measurement, Planned, at_once
from search.resources import Resources

AROUND_SECONDS = 11.0
"""What a search takes around its trials, assumed: from the command to the first worker's process 6 s, and from the last
report to the table and picture 5 s (results/LOG.md, 2026-11-29, later)."""
HANDOVER_SECONDS = 0.4
"""From one trial's last epoch to the next one's start in the same worker, assumed: test, store and Ray (same entry)."""
WARM_START_SECONDS = 0.5
"""What a trial costs before its first epoch in a worker that has trained another, where no two were measured in a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What the search would take."""

    epochs: float
    start_seconds: float
    """Of the first trial in a new process."""
    gpu_hours: float
    wall_seconds: float


def estimate(
    trials: Sequence[Planned], epochs: Sequence[float], measured: Sequence[Measurement], resources: Resources
) -> Estimate:
    """The trials in their order, each on the slot that is free first, for so many `epochs`.

    A new process is started on each slot. A shape whose code is not on disk yet is trained eagerly until it is compiled,
    beside its first trial; a process that meets compiled code for the first time takes it up after an eager epoch, and a
    while to load it.
    """
    slots = min(resources.concurrency, len(trials))
    # processes that had no core of their own were not measured: they would share
    workers = resources.workers_per_trial
    crowded = 1.0 if resources.gpus_per_trial else slots * workers / at_once(resources, len(trials))
    starts = sorted(float(one.values["start_seconds"]) for one in measured)
    cold, warm = starts[-1], statistics.median(starts[:-1]) if len(starts) > 1 else WARM_START_SECONDS
    free = [(cold, slot) for slot in range(slots)]
    ready: dict[Hashable, float] = {one.planned.shape: 0.0 for one in measured}  # to measure them was to compile them
    loaded: set[tuple[int, Hashable]] = set()
    busy = slots * cold
    for trial, count in zip(trials, epochs, strict=True):
        began, slot = heapq.heappop(free)
        speeds = Speeds.of(trial, measured)
        at = began + HANDOVER_SECONDS + warm
        eager = count
        if speeds.compiled:
            code_at = ready.setdefault(trial.shape, at + speeds.compile_seconds)
            waiting = float(math.ceil(max(0.0, code_at - at) / speeds.eager))
            eager = min(count, waiting if (slot, trial.shape) in loaded else max(1.0, waiting))
        at += eager * speeds.eager * crowded
        if eager < count:
            if (slot, trial.shape) not in loaded:
                loaded.add((slot, trial.shape))
                at += speeds.load_seconds
            at += (count - eager) * speeds.steady * crowded
        busy += at - began
        heapq.heappush(free, (at, slot))
    return Estimate(
        epochs=sum(epochs),
        start_seconds=cold,
        gpu_hours=resources.gpus_per_trial * busy / 3600,
        wall_seconds=AROUND_SECONDS + max(at for at, _ in free),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Speeds:
    """What one trial takes, interpolated by multiply-adds between the measured variants of its pace."""

    compiled: bool
    """Whether it is long enough to be compiled."""
    eager: float
    """Seconds of an epoch before it has compiled code."""
    steady: float
    """Seconds of an epoch with it; the same where it is not compiled."""
    compile_seconds: float
    load_seconds: float

    @classmethod
    def of(cls, trial: Planned, measured: Sequence[Measurement]) -> Speeds:
        alike = _alike(trial, measured)

        def seconds(name: str) -> float:
            return _between(trial.macs, [(one.planned.macs, float(one.values[name])) for one in alike])

        return cls(
            compiled=bool(alike[0].values["compiled"]),
            eager=seconds("eager_seconds_per_epoch"),
            steady=seconds("seconds_per_epoch"),
            compile_seconds=seconds("compile_seconds"),
            load_seconds=seconds("load_seconds"),
        )


def _alike(trial: Planned, measured: Sequence[Measurement]) -> list[Measurement]:
    """By multiply-adds, those of the trial's pace; where none was measured, those of one pace of its kind, or of any."""
    likest = max(measured, key=lambda one: (one.planned.pace == trial.pace, one.planned.kind == trial.kind))
    return sorted(
        (one for one in measured if one.planned.pace == likest.planned.pace), key=lambda one: one.planned.macs
    )


def _between(macs: int, points: Sequence[tuple[int, float]]) -> float:
    """Linear between points of (multiply-adds, seconds), constant beyond them."""
    for (low, before), (high, after) in pairwise(points):
        if low <= macs <= high:
            return before + (after - before) * (macs - low) / (high - low)
    return points[0][1] if macs <= points[0][0] else points[-1][1]
