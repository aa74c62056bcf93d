"""What a stored row says of the conditions under which its trial ran."""

from __future__ import annotations

import os
from pathlib import Path

from results.errors import InputError
from results.rows import TrialRow
from trainer.config import TrialConfig
from trainer.dataset import Dataset, load_dataset


def threads_of(row: TrialRow | None) -> int:
    """torch's CPU threads in the recorded trial; all cores where nothing is recorded."""
    recorded = row.provenance.get("threads") if row is not None else None
    return int(recorded) if recorded else len(os.sched_getaffinity(0))


def recorded_dataset(config: TrialConfig, row: TrialRow | None, override: str | None = None) -> Dataset:
    """The trial's data: by name if it is there, else where it lay when the trial ran; or `override`.

    Raises:
        InputError: the data are missing or damaged, or have other classes or another size than the model.
    """
    dataset = _found(config, row, override)
    if (len(dataset.classes), dataset.image_size) != (config.model.classes, config.model.image_size):
        raise InputError(
            f"The data set must fit the model ({config.model.classes} classes, size {config.model.image_size}), but "
            f"{dataset.name!r} has {len(dataset.classes)} classes of size {dataset.image_size}; name another in --data."
        )
    return dataset


def _found(config: TrialConfig, row: TrialRow | None, override: str | None) -> Dataset:
    if override is not None:
        return load_dataset(override)
    try:
        return load_dataset(config.data)
    except InputError:
        path = row.provenance.get("data_path") if row is not None else None
        if path is None or not Path(path).is_file():
            raise
        return load_dataset(path)
