"""From a trial's id or a checkpoint's path to the trained model and what the store knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from arch_space.vit_tiny import VitTiny
from results.errors import InputError
from results.rows import TrialRow
from results.store import ENDED, Store
from trainer import checkpoint
from trainer.config import TrialConfig
from trainer.resolve import discover_variants


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """A checkpoint's file, and the row of its trial where there is one."""

    path: Path
    row: TrialRow | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A model with the weights of a checkpoint, and what it was trained as."""

    model: VitTiny
    config: TrialConfig
    epoch: int


def locate(trial: str, storage: str) -> Located:
    """The checkpoint of a trial: the selected one, or while it trains the one that its `select` would name now.

    Raises:
        InputError: no such trial or file, or a trial that keeps no checkpoint.
    """
    if trial.endswith(".pt") or "/" in trial:
        path = Path(trial)
        if not path.is_file():
            raise InputError(f"There is no checkpoint file at {trial!r}.")
        return Located(path=path, row=None)
    with Store.open(storage, create=False, to_read=True) as store:
        row = store.trial(trial)
        discover_variants(store.search(row.search_id).settings.get("variants", []))
    folder = Path(row.provenance.get("folder", "."))
    for path in (folder / checkpoint.SELECTED, *_unfinished(folder, row)):
        if path.is_file():
            return Located(path=path, row=row)
    raise InputError(_without_checkpoint(row, folder))


def _without_checkpoint(row: TrialRow, folder: Path) -> str:
    """Why a trial has no checkpoint, and what can be done instead; a replay needs a recorded epoch."""
    if "imported" in row.provenance:
        return f"Trial {row.id} was imported without a checkpoint; name another trial."
    if row.status in ("finished", "plateau"):
        why = f"The checkpoint of trial {row.id} ({row.status}) was removed: there is none in {folder}"
    elif row.status in ENDED:
        why = f"Trial {row.id} is {row.status}, and such a trial keeps no checkpoint"
    else:
        why = f"Trial {row.id} is {row.status} and has no checkpoint in {folder} (yet, or it was removed)"
    if not row.epochs:
        return f"{why}; name another trial."
    return f"{why}. To train it again and see its curve (nothing is kept): python -m trainer.replay {row.id}"


def _unfinished(folder: Path, row: TrialRow) -> list[Path]:
    if row.config.get("select") == "best":
        return sorted(folder.glob("best-*.pt"), reverse=True)
    return [folder / checkpoint.LAST]


def load_trained(located: Located, device: torch.device | str = "cpu") -> Trained:
    """The model of a checkpoint, built from the dictionary that the file carries, in evaluation mode.

    Raises:
        InputError: the file is damaged, this Arbor does not know its dictionary, or its weights do not fit that.
    """
    content = checkpoint.load(located.path, device)
    try:
        config = TrialConfig.from_flat(content["flat"])
    except InputError as error:
        raise InputError(f"The checkpoint {located.path} does not fit this Arbor: {error}") from error
    model = config.model.build().to(device)
    checkpoint.load_weights(model, content, located.path)
    return Trained(model=model.eval(), config=config, epoch=content["epoch"])
