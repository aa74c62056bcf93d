"""Two trained networks on the same images, from the predictions that finished trials keep: no training, no torch."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from results.errors import InputError
from results.statistics import mcnemar

PREDICTIONS = "predictions.npz"
"""In a trial's folder: `val` and `test`, (N,) unsigned integers, the predicted class of every image of the split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLevel:
    """How two networks differ on one split."""

    a: str
    b: str
    """Ids of the trials."""
    images: int
    agreement: float
    """The share of images for which both predict the same class, right or wrong."""
    only_a: int | None
    """Images that a alone has right; none where the labels are not at hand."""
    only_b: int | None
    p: float | None
    """McNemar's exact p that both have as many right, for these two networks, not for their variants."""


def image_level(a: pd.Series, b: pd.Series, split: str) -> ImageLevel:
    """Compare two finished trials, rows of the trials frame, on `val` or `test`.

    Raises:
        InputError: predictions that are missing, damaged or not those of the row; trials of different images.
    """
    ours, theirs = (a["provenance"] or {}), (b["provenance"] or {})
    if ours.get("data_checksum") != theirs.get("data_checksum"):
        raise InputError(f"Both trials must have the same images, but the data of {a['id']} and {b['id']} differ.")
    left, right = predictions_of(a, split), predictions_of(b, split)
    if left.shape != right.shape:
        raise InputError(
            f"Both trials must have predicted the same images, but {a['id']} has {len(left)} and {b['id']} {len(right)}."
        )
    agreement = float(np.mean(left == right))
    labels = labels_of(ours, str(a["data"]), split)
    if labels is None or labels.shape != left.shape:
        return ImageLevel(a=a["id"], b=b["id"], images=len(left), agreement=agreement, only_a=None, only_b=None, p=None)
    for row, predicted in ((a, left), (b, right)):
        _require_own(row, float(np.mean(predicted == labels)), split)
    only_a = int(np.sum((left == labels) & (right != labels)))
    only_b = int(np.sum((right == labels) & (left != labels)))
    return ImageLevel(
        a=a["id"],
        b=b["id"],
        images=len(left),
        agreement=agreement,
        only_a=only_a,
        only_b=only_b,
        p=mcnemar(only_a, only_b),
    )


def predictions_of(trial: pd.Series, split: str) -> np.ndarray:
    """(N,) the class that a finished trial's selected checkpoint predicts for each image of the split.

    Raises:
        InputError: the trial keeps none, or the file is damaged.
    """
    folder = (trial["provenance"] or {}).get("folder")
    path = Path(folder or ".") / PREDICTIONS
    if folder is None or not path.is_file():
        raise InputError(
            f"Trial {trial['id']} keeps no predictions for single images"
            + (f" (no file {path})." if folder else " (it has no folder).")
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = arrays[split]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The predictions {path} are damaged; remove the file, or replay {trial['id']} for a new one."
        ) from error
    if found.ndim != 1 or found.dtype.kind not in "ui":
        raise InputError(f"The predictions {path} must be one class an image, but are {found.dtype} {found.shape}.")
    return found


def labels_of(provenance: dict[str, Any], data: str, split: str) -> np.ndarray | None:
    """(N,) int64, the true classes of the data that a trial was trained on; none where those data are gone or changed.

    A trial from another machine names no path here; data of its name may be where data sets are kept.
    """
    here = Path(os.environ.get("ARBOR_DATA") or "runs/data") / f"{data}.safetensors"
    path = next((each for each in (Path(provenance.get("data_path") or ""), here) if each.is_file()), None)
    if path is None:
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("arbor", "{}"))
            if metadata.get("checksum") != provenance.get("data_checksum"):
                return None
            return np.asarray(file.get_tensor(f"{split}.labels"))
    except (SafetensorError, OSError, ValueError):
        return None


def _require_own(trial: pd.Series, accuracy: float, split: str) -> None:
    """Predictions must give the accuracy that the row has, at its last epoch or at the best one, as its `select` says."""
    columns = ("val_acc", "best_val_acc") if split == "val" else ("test_acc",)
    known = [float(trial[column]) for column in columns if not pd.isna(trial[column])]
    # the weights of a best epoch are evaluated again at the end, on a GPU perhaps by other kernels
    tolerance = 0.005 if split == "val" and trial.get("select") == "best" else 1e-6
    if known and all(abs(accuracy - value) > tolerance for value in known):
        raise InputError(
            f"The predictions of {trial['id']} must give its accuracy, {100 * known[0]:.2f} %, but give "
            f"{100 * accuracy:.2f} %: they are another run's; replay the trial."
        )
