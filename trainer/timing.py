"""How long a call takes on a device: warmed up, on other inputs at every call, the median of many and their quartiles."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.stopwatch import Stopwatch

LEAST, MOST = 5, 300
"""Intervals that are timed, however long or short one takes."""
UNDISTURBED = 0.9
"""The least share of their cores with which the threads of a timing on a CPU are believed."""
INTERVAL_SECONDS = 2e-3
"""Calls that take less are timed several to an interval, which is then long beside the clock's own cost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Seconds of one call in each interval, in the order in which they were timed."""

    seconds: tuple[float, ...]
    cpu_share: float
    """CPU seconds of this process for each second on the clock, meanwhile: the cores that it had."""

    def disturbed(self, threads: int) -> bool:
        """Whether so many threads had less than their cores; what they lacked, others mostly had. Not for a GPU's times."""
        return self.cpu_share < UNDISTURBED * threads

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which the middle half of the intervals lies."""
        low, high = np.percentile(self.seconds, (25, 75))
        return float(low), float(high)

    def times_as_fast(self, other: Spread) -> float:
        """As the other, interval by interval, the median: what slowed down both at one moment changes little."""
        return float(np.median(self._ratios(other)))

    def compare(self, other: Spread) -> str:
        """`faster` or `slower` than the other in at least three quarters of the intervals, else `level`."""
        low, high = np.percentile(self._ratios(other), (25, 75))
        return "faster" if low > 1 else "slower" if high < 1 else "level"

    def _ratios(self, other: Spread) -> np.ndarray:
        return np.asarray(other.seconds) / np.asarray(self.seconds)


Call = Callable[[Tensor], object]


def time_calls(
    calls: Mapping[str, Call], inputs: Sequence[Tensor], device: torch.device, *, seconds: float = 0.3
) -> dict[str, Spread]:
    """Time each `call(input)` for about so many seconds, and at least LEAST times.

    The calls take turns, an interval each, so that what disturbs the machine disturbs all of them alike. Every call gets
    the next of `inputs`, from the first again after the last. A GPU's queue is never waited for within an interval: calls
    that are short there take what the host needs to launch them.
    """
    following = itertools.cycle(inputs)

    def interval(call: Call, repeats: int) -> None:
        for _ in range(repeats):
            call(next(following))

    def waited(call: Call, repeats: int) -> float:
        _wait(device)
        began = time.perf_counter()
        interval(call, repeats)
        _wait(device)
        return (time.perf_counter() - began) / repeats

    repeats, round_seconds = {}, 0.0
    for name, call in calls.items():
        once = waited(call, 1)  # allocates, and chooses kernels
        if once < seconds / 4:
            waited(call, 3)
            once = waited(call, max(1, min(20, int(seconds / 10 / once))))
        repeats[name] = max(1, math.ceil(INTERVAL_SECONDS / once))
        round_seconds += once * repeats[name]
    watch, clock, cpu = Stopwatch(device), time.perf_counter(), time.process_time()
    watch.mark()
    rounds = max(LEAST, min(MOST, int(seconds * len(calls) / round_seconds)))
    for _ in range(rounds):
        for name, call in calls.items():
            interval(call, repeats[name])
            watch.mark()
    intervals = watch.intervals()
    share = (time.process_time() - cpu) / (time.perf_counter() - clock)
    return {
        name: Spread(
            seconds=tuple(interval / repeats[name] for interval in intervals[place :: len(calls)]), cpu_share=share
        )
        for place, name in enumerate(calls)
    }


def distinct_inputs(
    tokens: int, dim: int, device: torch.device, dtype: torch.dtype = torch.float32, *, pool: int = 4096
) -> list[Tensor]:
    """Batches (tokens, dim), at least two, of N(0, 1), the distribution that a LayerNorm gives: no token occurs twice.

    At least `pool` tokens in all, so that calls on one token do not walk the same few paths again and again.
    """
    batches = max(2, -(-pool // tokens))
    return [torch.randn(tokens, dim, device=device).to(dtype) for _ in range(batches)]


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Within it torch computes with so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
