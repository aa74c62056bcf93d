"""Training a recorded trial again, and judging the curve that comes back."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from results.errors import InputError
from results.losses import accumulations
from results.rows import EpochRow, TrialRow
from results.store import Store
from trainer.config import TrialConfig
from trainer.engine import device_of
from trainer.fingerprint import differences, trial_fingerprint
from trainer.recorded import recorded_dataset, threads_of
from trainer.resolve import discover_variants
from trainer.trial import Trial
from trainer.trial_progress import trial_progress

COMPARED = ("train_loss", "val_loss", "val_acc", "lr")
HEADER = "epoch  train loss recorded/new    val loss recorded/new      val % recorded/new"
"""Above the lines of `side_by_side`; as they, no wider than 80 columns."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a replayed curve compares with the recorded one."""

    word: Literal["identical", "within tolerance", "different"]
    why: str


def judge(recorded: Sequence[EpochRow], fresh: Sequence[EpochRow], val_images: int) -> Verdict:
    """Compare two curves epoch by epoch.

    Identical: train loss, validation loss and accuracy and learning rate of every epoch are the same numbers. Within
    tolerance: the validation accuracies of the last epoch differ by at most three standard errors of a difference of
    two accuracies measured on `val_images` images each, sqrt(2 p (1 - p) / n): GPU kernels sum in changing order, after
    which two runs of one trial differ as two draws do.
    """
    pairs = list(zip(recorded, fresh, strict=True))
    for old, new in pairs:
        changed = [name for name in COMPARED if not _same(getattr(old, name), getattr(new, name))]
        if changed:
            break
    else:
        return Verdict("identical", f"all of {', '.join(COMPARED)} agree to the last bit in {len(pairs)} epochs")
    old, new = pairs[-1]
    if old.val_acc is None or new.val_acc is None:
        return Verdict("different", "one of the two has no validation accuracy in the last epoch")
    mean = (old.val_acc + new.val_acc) / 2
    tolerance = 3 * math.sqrt(max(2 * mean * (1 - mean), 1 / val_images) / val_images)
    gap = abs(old.val_acc - new.val_acc)
    rule = (
        f"validation accuracies of the last epoch differ by {100 * gap:.2f} points, where three standard errors on "
        f"{val_images} images are {100 * tolerance:.2f}"
    )
    return Verdict("within tolerance" if gap <= tolerance else "different", rule)


def replay(trial_id: str, *, epochs: int | None, data: str | None, storage: str) -> int:
    """Replay a trial and print the verdict; returns the exit code.

    Raises:
        InputError: no such trial, nothing recorded yet, more epochs than recorded, data that changed or are missing.
    """
    console = Console()
    with Store.open(storage, create=False, to_read=True) as store:
        row, recorded = store.trial(trial_id), store.epochs(trial_id)
        discover_variants(store.search(row.search_id).settings.get("variants", []))
    if not recorded:
        raise InputError(f"Trial {trial_id} is {row.status} and has no recorded epoch to compare with.")
    if epochs is not None and not 1 <= epochs <= len(recorded):
        raise InputError(f'"--epochs" must be from 1 to the {len(recorded)} recorded, but got {epochs}.')
    recorded = recorded[: epochs or len(recorded)]
    config = TrialConfig.from_flat(row.config)
    on_gpu = torch.cuda.is_available() and row.provenance.get("device") != "cpu"
    device = device_of(on_gpu)
    dataset = recorded_dataset(config, row, data)

    console.print(f"Replaying {trial_id}: {len(recorded)} epochs on {dataset.name}", highlight=False)
    console.print(HEADER, soft_wrap=True)
    fresh: list[EpochRow] = []
    present: dict[str, object] = {}
    progress = trial_progress(console)
    task = progress.add_task(trial_id, total=None)
    with tempfile.TemporaryDirectory(prefix="arbor-replay-") as folder, progress:
        for accumulation, last in _parts(row, len(recorded)):
            if last != len(recorded) or accumulation != config.accumulation:
                progress.console.print(
                    f"up to epoch {last} with {accumulation} micro-batches a step, as recorded", highlight=False
                )
            trial = Trial(
                config,
                Path(folder),
                device=device,
                threads=threads_of(row),
                reported=len(fresh),
                accumulation=accumulation,
                dataset=dataset,
                on_batch=lambda images: progress.advance(task, images),
            )
            progress.update(task, total=trial.steps_an_epoch * config.batch_size * len(recorded))
            present = trial_fingerprint(trial)
            try:
                for old, report in zip(recorded[len(fresh) : last], trial.reports(), strict=False):
                    fresh.append(report.row)
                    progress.console.print(side_by_side(old, report.row), highlight=False, soft_wrap=True)
            finally:
                trial.close()
    return _conclude(row, judge(recorded, fresh, len(dataset.val)), present, console)


def _parts(row: TrialRow, epochs: int) -> list[tuple[int, int]]:
    """As (micro-batches a step, last epoch of the part): what a trial did that ran out of memory and began again."""
    changes = [change for change in accumulations(row.provenance, row.config["accumulation"]) if change[0] < epochs]
    ends = [after for after, _ in changes[1:]] + [epochs]
    return [(accumulation, last) for (_, accumulation), last in zip(changes, ends, strict=True)]


def _conclude(row: TrialRow, verdict: Verdict, present: dict[str, object], console: Console) -> int:
    console.print(f"Verdict: {verdict.word} ({verdict.why}).", highlight=False, soft_wrap=True)
    if verdict.word == "identical":
        return 0
    changed = differences(row.provenance, present)
    if changed:
        console.print("What differs from the recorded run:", highlight=False)
        for line in changed:
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    else:
        console.print("Code, versions, machine, threads and data are those of the recorded run.")
    return 1 if verdict.word == "different" else 0


def side_by_side(old: EpochRow, new: EpochRow) -> str:
    """One epoch of both curves under `HEADER`, with = or ! at each pair of numbers."""

    def pair(name: str, form: str, scale: float = 1) -> str:
        values = (getattr(old, name), getattr(new, name))
        left, right = (format(scale * value, form) if value is not None else "-" for value in values)
        return f"{left} / {right} {'=' if _same(*values) else '!'}"

    return f"{old.epoch:5d}  {pair('train_loss', '.8f')}  {pair('val_loss', '.8f')}  {pair('val_acc', '.2f', 100)}"


def _same(old: float | None, new: float | None) -> bool:
    """Equal numbers; what is not finite is stored as nothing."""
    old = None if old is None or not math.isfinite(old) else old
    new = None if new is None or not math.isfinite(new) else new
    return old == new
