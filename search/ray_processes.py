"""The processes of a Ray, known by the folder in which they keep their logs open, also those whose parent is gone.

Neither descent nor environment tells: agents of a raylet that died have another parent, and their title overwrites their
environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

LIMIT_SECONDS = 5.0


def end_all(folder: Path) -> None:
    """Kill all processes of the Ray whose folder this is, but this one; again, as one that dies may have started another."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (found := list(_of_ray(folder))) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=max(0.0, deadline - time.monotonic()))


def lives(process: psutil.Process) -> bool:
    """Whether a process runs: neither gone nor a zombie, nor another one that has got its number."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _of_ray(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or another user's
            if process.pid == os.getpid() or not _is_rays(process.cmdline()) or not lives(process):
                continue
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                yield process


def _is_rays(command: list[str]) -> bool:
    """By title or by program: a person may read the logs, too."""
    return bool(command) and (command[0].startswith("ray::") or any("/ray/" in word for word in command[:3]))
