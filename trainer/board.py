"""TensorBoard of one trial: scalars by epoch and the flat dictionary as hyperparameters, one folder a trial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.rows import EpochRow
from trainer.config import Flat
from trainer.diagnostics import MEANS

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

HPARAMS_METRICS = ("val/accuracy", "val/loss", "train/loss")


class Board:
    """Writes one event file under `folder`; after a resume, TensorBoard drops what a lost epoch had written.

    `level_rates` are a tree's factors of the learning rate by level, empty where there is one rate.
    """

    def __init__(self, folder: Path, flat: Flat, start_epoch: int, level_rates: Sequence[float] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._level_rates = level_rates
        self._writer = SummaryWriter(str(folder), purge_step=start_epoch if start_epoch > 1 else None)
        if start_epoch == 1:
            plain = {key: "none" if value is None else value for key, value in flat.items()}
            summaries: tuple[Summary, ...] = hparams(plain, dict.fromkeys(HPARAMS_METRICS, 0.0))
            for summary in summaries:
                self._writer._get_file_writer().add_summary(summary)  # its own add_hparams would open a second run

    def add(self, row: EpochRow) -> None:
        """The scalars of one epoch."""
        for tag, value in (
            ("train/loss", row.train_loss),
            ("val/loss", row.val_loss),
            ("val/accuracy", row.val_acc),
            ("train/auxiliary_loss", row.extra.get("auxiliary_loss")),
            *_by_form(row),
            ("learning_rate", row.lr),
            ("speed/images_per_second", row.images_per_second),
            ("speed/train_seconds", row.train_seconds),
            ("speed/val_seconds", row.val_seconds),
            *((f"learning_rate/level_{level}", row.lr * factor) for level, factor in enumerate(self._level_rates)),
            *_of_trees(row.extra.get("trees", {})),
        ):
            if value is not None:
                self._writer.add_scalar(tag, value, row.epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _by_form(row: EpochRow) -> list[tuple[str, float]]:
    """Accuracy in the execution forms that a kind reports beside its default."""
    prefix = "val_acc_"
    found = ((key.removeprefix(prefix), value) for key, value in row.extra.items() if key.startswith(prefix))
    return [(f"val/accuracy_{form}", value) for form, value in found]


def _of_trees(said: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """The means of `trainer.diagnostics` over a model's trees."""
    for key in MEANS:
        yield f"tree/{key}", said.get(key)
    for level, norm in enumerate(said.get("gradient_norm_by_level", ())):
        yield f"tree/gradient_norm/level_{level}", norm
