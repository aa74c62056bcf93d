"""What must hold after a search was killed again and again: its history in the store, and nothing left on the machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.fault_processes import left_of, shared_memory
from results.audited import audit
from results.rows import EpochRow
from results.store import ENDED, Store

GONE_SECONDS = 150.0
"""Ray's agents may outlive a driver that was killed by up to two minutes."""
Committed = dict[tuple[str, int], EpochRow]
"""Every epoch that the store has, by trial and number."""
_MEASURED = ("train_loss", "val_loss", "val_acc", "lr")


def committed(store: Store, search_id: str) -> Committed:
    """What the store has at this moment; none of it may change or vanish later."""
    return {(trial.id, row.epoch): row for trial in store.trials(search_id) for row in store.epochs(trial.id)}


def history_faults(store: Store, search_id: str, seen: Committed) -> list[str]:
    """A sentence for each thing that is wrong with an ended search; `seen` is what was in the store before the kills."""
    faults = [f"{search_id}: {fault}" for check in audit(store, search_id) for fault in check.violations]
    search = store.search(search_id)
    if search.status != "ended":
        faults.append(f"{search_id} is {search.status}, not ended")
    for trial in store.trials(search_id):
        if trial.status not in ENDED:
            faults.append(f"{trial.id} is {trial.status}, which is no end")
        if trial.status == "failed":
            faults.append(f"{trial.id} failed: {trial.cause}")
        numbers = [row.epoch for row in store.epochs(trial.id)]
        if numbers != list(range(1, trial.epochs + 1)):
            faults.append(f"{trial.id} has the epochs {numbers}, but its row says {trial.epochs}")
    now = committed(store, search_id)
    faults += [f"epoch {epoch} of {trial} was lost" for trial, epoch in sorted(seen.keys() - now.keys())]
    faults += [
        f"epoch {epoch} of {trial} was committed twice, with other values"
        for (trial, epoch), row in seen.items()
        if (trial, epoch) in now and now[trial, epoch] != row
    ]
    return faults


def story(store: Store, search_id: str) -> list[tuple[str, Any]]:
    """All that a search suggested, measured and decided, in order; times and ids aside."""
    rows = store.trials(search_id)
    found: list[tuple[str, Any]] = []
    for row in rows:
        found.append((f"trial {row.number}'s suggestion", row.config))
        found.append((f"trial {row.number}'s row", (row.status, row.epochs, row.val_acc, row.best_epoch, row.test_acc)))
        curve = [(epoch.epoch, *(getattr(epoch, name) for name in _MEASURED)) for epoch in store.epochs(row.id)]
        found.append((f"trial {row.number}'s curve", curve))
    for place, decision in enumerate(store.decisions(search_id), start=1):
        number = decision.trial_id.rpartition(".")[2]
        found.append((f"decision {place}", replace(decision, trial_id=number, created=None)))
    return found


def differences(killed: list[tuple[str, Any]], whole: list[tuple[str, Any]]) -> list[str]:
    """A sentence for each part in which a killed search differs from one that nobody touched."""
    if len(killed) != len(whole):
        return [f"the killed search has {len(killed)} suggestions, curves and decisions, the other one {len(whole)}"]
    return [
        f"{name} differs from that of the search that nobody touched: {mine} instead of {other}"
        for (name, mine), (_, other) in zip(killed, whole, strict=True)
        if mine != other
    ]


def left_files(runs: Path, temporary: Path) -> list[str]:
    """Files of ended searches that only a running one needs, and whatever is in their temporary folder."""
    faults = [f"temporary file left: {path}" for path in sorted(temporary.iterdir())]
    for search in runs.iterdir():
        for pattern in ("ray", "*/last.pt", "*/best-*.pt", "*/.*", "**/*.tmp"):
            if search.name != "data":  # beside each data set lies its lock
                faults += [f"file left of a search that has ended: {path}" for path in search.glob(pattern)]
    return faults


def left_on_the_machine(mark: str, memory_before: set[str]) -> tuple[list[str], float]:
    """Processes, sockets and shared memory that are still there after `GONE_SECONDS`, and how long the last one took."""
    began = time.monotonic()
    while True:
        left = left_of(mark)
        left += [f"shared memory left: {file}" for file in sorted(shared_memory() - memory_before)]
        took = time.monotonic() - began
        if not left or took > GONE_SECONDS:
            return left, took
        time.sleep(1)
