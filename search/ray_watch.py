"""Sees Ray's own processes die, and takes the search up again with new ones.

A driver whose raylet is gone waits for ever for a place in which a trial could run, and one whose GCS is gone waits a minute
and is then ended by Ray without a word. Both are children of the driver, so their death is seen at once. What Ray keeps of
them in this process cannot be mended, so the process becomes a new one (exec) that resumes the search: to the store that
is a driver killed at that moment, from which nothing is lost.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import psutil

from results.cli import EXIT_INTERRUPTED
from search.background_thread import BackgroundThread
from search.ray_processes import end_all, lives
from search.session import Session

WATCHED = ("raylet", "gcs_server")
LOOK_SECONDS = 0.5
HEED_SECONDS = 2.0
"""Within which the main thread has heard of a signal that ended Ray's processes, too."""
START_SECONDS = 120.0
"""Ray has its processes by then; one that was joined never has any here."""
RESTARTS = 3
"""How often Ray is started again while no trial reports in between."""
COUNT = "ARBOR_RAY_RESTARTS"
"""The environment variable that counts them."""
_EXIT_CODE = 2


class RayWatch(BackgroundThread):
    """Watches the Ray that this process starts while the context lasts; one that it joined has no processes here.

    Args:
        folder: of the files of this Ray.
        stopping: set once this process has been told to end. Sent to its whole process group, as `timeout` and batch
            systems do, the signal has ended Ray's processes, too, and their death is no accident.
        options: of the command that resumes the search, which the store does not know.
    """

    def __init__(self, session: Session, folder: Path, stopping: threading.Event, *, options: Sequence[str]) -> None:
        super().__init__("ray-watch")
        self._session, self._options = session, options
        self._epochs = _epochs(session)
        self._folder, self._stopping = folder, stopping
        # of the driver that this process was before exec, its dead Ray may be left
        self._others = {child.pid for child in psutil.Process().children()}

    def _run(self) -> None:
        driver = psutil.Process()
        watched: dict[int, tuple[str, psutil.Process]] = {}
        began = time.monotonic()
        while not self._over.wait(LOOK_SECONDS):
            if len(watched) < len(WATCHED) and time.monotonic() - began < START_SECONDS:
                for process in driver.children():
                    with suppress(psutil.Error):
                        if process.pid not in self._others and (name := process.name()) in WATCHED:
                            watched.setdefault(process.pid, (name, process))
            dead = [name for name, process in watched.values() if not lives(process)]
            if dead and not self._over.is_set():
                if self._stopping.wait(HEED_SECONDS):
                    self._end_here()
                self._start_again(dead[0])

    def _end_here(self) -> NoReturn:
        """What the main thread does when it is told to end, which waits for a Ray that is gone."""
        session = self._session
        session.close()
        end_all(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        resume = " ".join(resume_arguments(session, self._options))
        session.on_note(f"Interrupted. Everything reported is in the store; go on with: python {resume}")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)

    def _start_again(self, name: str) -> None:
        """This process becomes the next driver, or ends; returns only where it is ending anyway."""
        session = self._session
        before = int(os.environ.get(COUNT, "0")) if _epochs(session) == self._epochs else 0
        end_all(self._folder)
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
    if session.budget.seconds_left < math.inf:
        arguments += ["--time-budget", f"{max(session.budget.seconds_left, 1):.0f}s"]
    if session.budget.gpu_hours_left < math.inf:
        arguments += ["--gpu-hours", f"{max(session.budget.gpu_hours_left, 1e-6):.6f}"]
    return [*arguments, *options]


def _epochs(session: Session) -> int:
    return session.ended.epochs + sum(row.epochs for row in list(session.unfinished.values()))
