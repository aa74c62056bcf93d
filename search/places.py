"""Where the folders of a search's trials lie: beside its database, or where `--checkpoints` says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from results.errors import InputError
from results.ids import runs_folder
from results.rows import TrialRow
from results.store import ENDED


def trials_base(checkpoints: str | None, storage: str) -> Path:
    """The folder that holds a folder for each search, and that one for each of its trials; absolute.

    Args:
        checkpoints: a folder; none = the one of the run folders.
    Raises:
        InputError: `checkpoints` is a URL, or no folder that can be written to.
    """
    if checkpoints is None:
        return runs_folder(storage)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", checkpoints):
        raise InputError(
            f'"--checkpoints" must be a folder that every node sees under the same path, but got the URL {checkpoints!r}; '
            "mount the object store (mountpoint-s3, gcsfuse, rclone mount), or use NFS."
        )
    folder = Path(checkpoints).expanduser().absolute()
    if not checkpoints or not folder.is_dir():
        raise InputError(f'"--checkpoints" must be a folder that exists, but got {checkpoints!r}; make it first.')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f'"--checkpoints" must be a folder that can be written to, but {folder} cannot; name another.')
    return folder


def to_be_shared(base: Path, rows: Iterable[TrialRow] = ()) -> set[Path]:
    """Folders that exist here and that every node of a cluster must share: of the trials to come, and of the unfinished."""
    wanted = {base, *(Path(row.provenance["folder"]).parent for row in rows if row.status not in ENDED)}
    return {_existing(folder) for folder in wanted}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it: `runs/` is made later, when nothing has been refused."""
    return next(path for path in (folder, *folder.parents) if path.is_dir())
