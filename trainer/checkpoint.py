"""Checkpoints: files of plain values, written atomically, read with weights only.

A trial's folder holds, while it may go on,
    last.pt          all that resuming needs, and the reports of every epoch so far
    best-0007.pt     weights of the epoch with the highest validation accuracy
    attempt          which worker may write here (trainer/lease.py)
and once it has ended
    selected.pt      weights of the checkpoint that was tested
    predictions.npz  the classes that it predicted for every validation and test image
Every file carries the trial's flat dictionary, so it can be loaded without knowing the model's shape.
"""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arch_space.model import ModelConfig
from results.errors import InputError
from trainer import lease
from trainer.config import TrialConfig

FORMAT = "arbor-checkpoint-1"
LAST, SELECTED, PREDICTIONS = "last.pt", "selected.pt", "predictions.npz"

DAMAGED = f"{LAST}.damaged"
"""What a search makes of a checkpoint that cannot be read, until its trial has ended."""


class DamagedCheckpointError(InputError):
    """A file that is there and is no checkpoint of ours, or not a whole one."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Write `content` (tensors and plain values) so that a kill leaves the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save({"format": FORMAT, **content}, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) or not _disk_is_full(path.parent):
            raise
        # torch's zip writer reports a full disk as a RuntimeError about its own position in the file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def load(path: Path, device: torch.device | str = "cpu", needed: Collection[str] = ()) -> dict[str, Any]:
    """The content of a checkpoint; `needed` names what it must have beside its dictionary, epoch and weights.

    Raises:
        InputError: the file is missing.
        DamagedCheckpointError: it is damaged, or not a checkpoint of ours.
    """
    way_out = "name another, or remove it and train its trial again."
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()  # torch itself does not compare the checksums that it wrote
        if broken is not None:
            raise zipfile.BadZipFile(broken)
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint at {path}.") from error
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, but none of the file's
    except (zipfile.BadZipFile, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        raise DamagedCheckpointError(f"The checkpoint {path} is damaged or not a checkpoint; {way_out}") from error
    if not _is_ours(content) or not content.keys() >= set(needed):
        raise DamagedCheckpointError(
            f"The file {path} is not a checkpoint of Arbor ({FORMAT}), or lacks a part; {way_out}"
        )
    return content


def _is_ours(content: object) -> bool:
    """Whether a file's content has what every checkpoint has; any file may be named on a command line."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    weights = content.get("model")
    return (
        isinstance(content.get("flat"), dict)
        and isinstance(content.get("epoch"), int)
        and isinstance(weights, dict)
        and all(isinstance(weight, torch.Tensor) for weight in weights.values())
    )


def best_path(folder: Path, epoch: int) -> Path:
    """Where the weights of a best epoch lie."""
    return folder / f"best-{epoch:04d}.pt"


def remove_other_bests(folder: Path, keep_epoch: int) -> None:
    """Drop weights of former bests, and of a best which was written just before a kill and never referred to."""
    for path in folder.glob("best-*.pt"):
        if path != best_path(folder, keep_epoch):
            path.unlink(missing_ok=True)


def remove_resume_files(folder: Path) -> None:
    """What only an unfinished trial needs. Called when its end is in the store, never before.

    The lease goes first: a worker that puts a file in place after these are gone finds no lease then, and calls this, too.
    """
    (folder / lease.FILE).unlink(missing_ok=True)
    for pattern in (".*.pt.*", ".*.npz.*", f".{lease.FILE}.*", LAST, DAMAGED, "best-*.pt"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def load_weights(model: torch.nn.Module, content: dict[str, Any], path: Path) -> None:
    """Copy a checkpoint's weights into the model.

    Raises:
        InputError: the weights do not fit, with the first name and the two shapes that differ.
    """
    theirs, ours = content["model"], model.state_dict()
    for name in sorted(theirs.keys() | ours.keys()):
        got = tuple(theirs[name].shape) if name in theirs else "nothing"
        wanted = tuple(ours[name].shape) if name in ours else "nothing"
        if got != wanted:
            raise InputError(
                f"The checkpoint {path} has another shape than the model: {name!r} is {got} in the file, "
                f"and {wanted} in the model."
            )
    model.load_state_dict(theirs)


def require_same_trial(content: dict[str, Any], config: TrialConfig, path: Path) -> None:
    """A checkpoint is taken up only by the trial that wrote it.

    Raises:
        InputError: the dictionaries differ, with the first key and both values.
    """
    theirs, ours = content["flat"], config.to_flat()
    # a key that the file's Arbor did not know stood at its default
    defaults = TrialConfig(model=ModelConfig(ffn=type(config.model.ffn)()))
    newer = {key: value for key, value in defaults.to_flat().items() if key in ours}
    theirs = {**newer, **theirs}
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            raise InputError(
                f"The checkpoint {path} belongs to another trial: {key} is {theirs.get(key)} in the file, "
                f"and {ours.get(key)} in this trial; remove it, or use another folder."
            )


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays as one compressed .npz, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)


def _disk_is_full(folder: Path) -> bool:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize < 64 * 2**20
