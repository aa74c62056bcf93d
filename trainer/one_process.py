"""A single trial has one process, which its row names: two would write one curve, in one folder, one over the other."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from results.driver_life import driver_process, is_of_this_host, lives_here
from results.errors import InputError
from results.ids import make_run_folder
from results.rows import TrialRow
from results.store import ENDED


@contextmanager
def one_at_a_time(runs: Path) -> Iterator[None]:
    """Only one process of this host looks for its row and takes it: of two that start together both would find it free."""
    make_run_folder(runs)
    lock = os.open(runs, os.O_RDONLY)  # a folder can be locked as it is, and the lock goes with its process
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def this_process() -> dict[str, object]:
    """What a row that is taken says of who trains it."""
    return {"hostname": platform.node(), **driver_process()}


def refuse_second_process(row: TrialRow) -> None:
    """Raises InputError while another process of this host trains the trial; of other hosts' processes nothing is known."""
    pid, is_here = row.provenance.get("driver_pid"), is_of_this_host(row.provenance)
    if row.status not in ENDED and is_here and pid != os.getpid() and lives_here(row.provenance):
        raise InputError(
            f"{row.id} is being trained by process {pid} on this host; stop that one first, or wait until it has ended."
        )
