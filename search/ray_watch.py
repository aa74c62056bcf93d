"""Sees Ray's own processes die, and takes the search up again with new ones.

A driver whose raylet is gone waits for ever for a place in which a trial could run, and one whose GCS is gone waits a minute
and is then ended by Ray without a word. Both are children of the driver, so their death is seen at once. What Ray keeps of
them in this process cannot be mended, so the process becomes a new one (exec) that resumes the search: to the store that
is a driver killed at that moment, from which nothing is lost.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import uuid4

import psutil

from search.background_thread import BackgroundThread
from search.session import Session

WATCHED = ("raylet", "gcs_server")
LOOK_SECONDS = 0.5
START_SECONDS = 120.0
"""Ray has its processes by then; one that was joined never has any here."""
RESTARTS = 3
"""How often Ray is started again while no trial reports in between."""
COUNT = "ARBOR_RAY_RESTARTS"
"""The environment variable that counts them."""
MARK = "ARBOR_RAY_OF"
"""The environment variable by which all processes of one Ray are known: they inherit it, also those whose parent is gone."""
_END_SECONDS = 5.0
_EXIT_CODE = 2


class RayWatch(BackgroundThread):
    """Watches the Ray that this process starts while the context lasts; one that it joined has no processes here.

    Args:
        options: of the command that resumes the search, which the store does not know.
    """

    def __init__(self, session: Session, *, options: Sequence[str]) -> None:
        super().__init__("ray-watch")
        self._session, self._options = session, options
        self._epochs = _epochs(session)
        self._mark = os.environ[MARK] = uuid4().hex

    def _run(self) -> None:
        driver = psutil.Process()
        watched: dict[int, tuple[str, psutil.Process]] = {}
        began = time.monotonic()
        while not self._over.wait(LOOK_SECONDS):
            if len(watched) < len(WATCHED) and time.monotonic() - began < START_SECONDS:
                for process in driver.children():
                    with suppress(psutil.Error):
                        if (name := process.name()) in WATCHED:
                            watched.setdefault(process.pid, (name, process))
            dead = [name for name, process in watched.values() if not lives(process)]
            if dead and not self._over.is_set():
                self._start_again(dead[0])

    def _start_again(self, name: str) -> None:
        """This process becomes the next driver, or ends; returns only where it is ending anyway."""
        session = self._session
        before = int(os.environ.get(COUNT, "0")) if _epochs(session) == self._epochs else 0
        _end_all(self._mark)
        if self._over.is_set():  # Ctrl-C came, or SIGTERM: the main thread is on its way out
            return
        resume = resume_arguments(session, self._options)
        if before >= RESTARTS:
            sys.stdout.flush()
            print(
                f"Error: Ray's process {name} died {before + 1} times before any trial reported, so the search ends here; "
                f"what was reported is in the store: see what ends processes on this machine (its memory, perhaps), then "
                f"go on with: python {' '.join(resume)}",
                file=sys.stderr,
                flush=True,
            )
            os._exit(_EXIT_CODE)
        session.on_note(f"Ray's process {name} died; starting Ray again and going on from the store.")
        sys.stdout.flush()
        sys.stderr.flush()
        os.environ[COUNT] = str(before + 1)
        os.execv(sys.executable, [sys.executable, *resume])


def resume_arguments(session: Session, options: Sequence[str]) -> list[str]:
    """Python's arguments that go on with a search in the same way, with what is left of its budgets."""
    arguments = ["-m", "search.run", "--resume", session.search_id, "--storage", session.store.url]
    if session.seconds_left < math.inf:
        arguments += ["--time-budget", f"{max(session.seconds_left, 1):.0f}s"]
    if session.gpu_hours_left < math.inf:
        arguments += ["--gpu-hours", f"{max(session.gpu_hours_left, 1e-6):.6f}"]
    return [*arguments, *options]


def lives(process: psutil.Process) -> bool:
    """Whether a process runs: neither gone nor a zombie, nor another one that has got its number."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_all(mark: str) -> None:
    """Kill all processes of a Ray: again, as one that dies may just have started another."""
    deadline = time.monotonic() + _END_SECONDS
    while (found := list(_marked(mark))) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=max(0.0, deadline - time.monotonic()))


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or another user's
            if process.pid != os.getpid() and process.environ().get(MARK) == mark and lives(process):
                yield process


def _epochs(session: Session) -> int:
    return sum(row.epochs for row in list(session.trials.values()))
