"""The processes of a search that is to be broken: found by a mark in their environment, told apart by what they are."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from search.ray_processes import lives

MARK = "ARBOR_FAULTS_MARK"
TARGETS = ("driver", "raylet", "gcs_server", "trial worker", "gang worker")
"""What is killed. Ray's agents, monitors and idle workers belong to the search, too, but hold nothing of it."""
_RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
_GANGS = "ray::RankWorker"
"""Ray's name of a rank. The actor that trains a trial, or holds its ranks, has the trial's own name in an epoch."""


class Driver:
    """`python -m search.run ...`, started in a session of its own, its output in a file.

    Args:
        mark: found again in the environment of all that the driver starts, whoever its parent is by then.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, log: Path, mark: str, environment: Mapping[str, str]
    ) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "search.run", *arguments],
                cwd=folder,
                env={**os.environ, **environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """The exit code; none while it runs."""
        return self.process.poll()


def marked(mark: str) -> Iterator[psutil.Process]:
    """Every living process that carries the mark."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and lives(process):
                yield process


def target_of(process: psutil.Process, driver: int) -> str | None:
    """Which of `TARGETS` a process is; none for the others."""
    if process.pid == driver:
        return "driver"
    try:
        name, command = process.name(), process.cmdline()
    except psutil.Error:
        return None
    if name in ("raylet", "gcs_server"):
        return name
    title = command[0] if command else ""
    if not title.startswith("ray::") or title.startswith(_RAYS_OWN):
        return None
    return "gang worker" if title.startswith(_GANGS) else "trial worker"


def targets(mark: str, driver: int) -> dict[str, list[psutil.Process]]:
    """All that can be killed now, by what it is."""
    found: dict[str, list[psutil.Process]] = {}
    for process in marked(mark):
        if (what := target_of(process, driver)) is not None:
            found.setdefault(what, []).append(process)
    return found


def trainer_of(trial_folder: Path) -> int | None:
    """The process that last opened a trial's TensorBoard file, which has its number in the name."""
    board = trial_folder / "tensorboard"
    files = sorted(board.iterdir(), key=lambda path: path.stat().st_mtime) if board.is_dir() else []
    number = files[-1].name.split(".")[-2] if files else ""
    return int(number) if number.isdecimal() else None


def left_of(mark: str) -> list[str]:
    """The marked processes that live, and the sockets on which they listen, a line each."""
    found = []
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):  # gone in the meantime
            found.append(f"process left: {process.pid} {process.name()}")
            found += [
                f"socket left: {process.name()} on {connection.laddr.ip}:{connection.laddr.port}"
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    return found


def shared_memory() -> set[str]:
    """Files of shared memory that no living process holds open or has mapped."""
    folder = Path("/dev/shm")
    files = {str(path) for path in folder.iterdir()} if folder.is_dir() else set()
    for process in psutil.process_iter():
        if not files:
            break
        with contextlib.suppress(psutil.Error, OSError):
            files -= {mapped.path for mapped in process.memory_maps()}
            files -= {opened.path for opened in process.open_files()}
    return files
