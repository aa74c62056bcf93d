"""What the driver costs without Ray and without training: whole searches of made-up curves in virtual time.

`python -m benchmarks.driver TRIALS SAMPLER` simulates one search on 8 slots and prints its figures as one line of JSON. All
but the curves is the real thing: sampler, scheduler, session, and a store in a file.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from results.rows import EpochRow
from results.store import Store
from search.experiment import Experiment
from search.session import Assignment, Session
from search.simulated import Clock, simulate
from search.space import suggest_ffn
from trainer.config import Flat
from trainer.dataset import read_header
from trainer.report import Report

EPOCHS, SLOTS = 27, 8


def _space(scope: Any) -> Flat:
    return {**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-4, 1e-2, log=True)}


def _curve(assignment: Assignment) -> Iterator[Report]:
    """Towards a level that the rate and chance decide, some sooner, some later, with noise of half a point."""
    chance = random.Random(assignment.number)
    level = 0.95 - 0.1 * abs(math.log10(float(str(assignment.flat["lr"])) / 2e-3)) - chance.uniform(0, 0.1)
    speed = chance.uniform(0.1, 1.1)
    for epoch in range(1, EPOCHS + 1):
        value = level * (1 - math.exp(-speed * epoch)) + chance.gauss(0, 0.005)
        row = EpochRow(epoch=epoch, train_loss=1 - value, val_loss=1 - value, val_acc=value, lr=1e-3,
                       train_seconds=chance.uniform(1, 2), val_seconds=0.1, images_per_second=1.0)  # fmt: skip
        if epoch > assignment.reported:
            yield Report(row=row, status="finished" if epoch == EPOCHS else "running", wall_seconds=float(epoch))


class _Timed(Session):
    """A session that adds up what its two calls take, and notes the process's memory as trials come."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.report_seconds, self.ask_seconds, self.reports = 0.0, 0.0, 0
        self.memory: dict[int, int] = {}
        self._process = psutil.Process()

    def report(self, trial_id: str, report: Report, provenance: dict[str, Any], *, attempt: int | None = None) -> bool:
        began = time.perf_counter()
        stop = super().report(trial_id, report, provenance, attempt=attempt)
        self.report_seconds += time.perf_counter() - began
        self.reports += 1
        return stop

    def next_trial(self) -> Assignment | None:
        began = time.perf_counter()
        assignment = super().next_trial()
        self.ask_seconds += time.perf_counter() - began
        if self.begun in _marks(self.experiment.trials):
            self.memory.setdefault(self.begun, self._process.memory_info().rss)
        return assignment


def _marks(trials: int) -> tuple[int, int, int]:
    """Trials at which memory is noted: after imports and caches, when the allocator has filled its reserves, at the end."""
    return max(SLOTS, trials // 10), max(SLOTS, trials - trials // 5), trials


def time_driver(trials: int, sampler: str) -> dict[str, Any]:
    """Seconds and memory of one search of so many trials, and what each report and each ask took of them."""
    experiment = Experiment(
        name="driver",
        base={"data": "digits", "batch_size": 64, "epochs": EPOCHS},
        space=_space,
        trials=trials,
        grace=1,
        reduction=3,
        sampler=sampler,
    )
    with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/arbor.db") as store:
        clock = Clock()
        session = _Timed(
            store,
            store.create_search("driver", "?", {}, {}),
            experiment,
            folder=Path(folder),
            header=read_header("digits"),
            concurrency=SLOTS,
            gpus_per_trial=0,
            startup_trials=10,
            clock=clock,
        )
        began, used = time.perf_counter(), time.process_time()
        simulate(session, _curve, clock)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    warm, late, last = (session.memory[mark] for mark in _marks(trials))
    return {
        "trials": trials,
        "reports": session.reports,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "report_ms": 1000 * session.report_seconds / session.reports,
        "ask_ms": 1000 * session.ask_seconds / trials,
        "memory_bytes": last,
        "bytes_per_trial": (last - warm) // max(1, trials - _marks(trials)[0]),
        "bytes_per_late_trial": (last - late) // max(1, trials - _marks(trials)[1]),
    }


if __name__ == "__main__":
    print(json.dumps(time_driver(int(sys.argv[1]), sys.argv[2])))
