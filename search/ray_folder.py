"""A folder of its own for the files of a search's Ray: sockets, logs, ports.

Ray removes none of them, neither at its end nor later, and puts them into /tmp/ray beside those of every other user. Here
each search has a folder under the system's temporary one, which goes with it. A driver that was killed cannot remove its
own; the next one does, and sees by a lock, which the kernel drops when a process dies, that nobody is left. What is left of
that Ray it ends: its agents would go on for two minutes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from search.ray_processes import end_all

PREFIX = "arbor-ray-"
LOCK = "owner.lock"
_SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path on Linux."""
_BELOW = len(f"/{PREFIX}12345678/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_UNLOCKED_SECONDS = 5.0
"""A folder that has been without a lock for so long is not one that is just being made."""
_REMOVE_SECONDS = 5.0
"""How long Ray's last processes may go on writing into a folder that is being removed."""


@contextmanager
def ray_folder() -> Iterator[Path]:
    """The folder, while this process uses it; those of dead drivers are removed before and after.

    After, too, since Ray's agents outlive a killed driver by minutes and may make a removed folder again. After an
    exception it stays, since Ray's logs may say why; the next search on this machine removes it.
    """
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_base()))  # for this user alone
    lock = _locked(folder / LOCK)
    try:
        yield folder
        _remove(folder)
    except (KeyboardInterrupt, OSError):  # OSError: a full disk
        _remove(folder)
        raise
    finally:
        remove_abandoned()
        if lock is not None:
            lock.close()


def remove_abandoned() -> None:
    """Remove what this user's dead drivers left on this machine."""
    for folder in _base().glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            if not (folder / LOCK).exists():
                if time.time() - folder.stat().st_mtime > _UNLOCKED_SECONDS:
                    _remove(folder)
                continue
            lock = _locked(folder / LOCK)
        except OSError:  # gone in the meantime
            continue
        if lock is not None:
            end_all(folder)
            _remove(folder)
            lock.close()


def _base() -> Path:
    """The system's temporary folder, or /tmp where that is too long for a socket's path."""
    wanted = Path(tempfile.gettempdir()).resolve()
    return wanted if len(os.fsencode(wanted)) + _BELOW <= _SOCKET_PATH_LIMIT else Path("/tmp")


def _locked(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed; none where another process holds it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _remove(folder: Path) -> None:
    """Ray's agents may still write for a moment, or for minutes after a kill: what they add then is removed later."""
    end = time.monotonic() + _REMOVE_SECONDS
    shutil.rmtree(folder, ignore_errors=True)
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)
