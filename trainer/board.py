"""TensorBoard of one trial: scalars by epoch and the flat dictionary as hyperparameters, one folder a trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    Args:
        level_rates: a tree's factors of the learning rate by level, empty where there is one rate.
        hparams: the keys in which the trials of a search differ, with the type of each (number, text or flag); none where
            a trial stands alone, which shows its whole dictionary.
    """

    def __init__(
        self,
        folder: Path,
        flat: Flat,
        start_epoch: int,
        level_rates: Sequence[float] = (),
        hparams: Mapping[str, str] | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._level_rates = level_rates
        self._writer = SummaryWriter(str(folder), purge_step=start_epoch if start_epoch > 1 else None)
        if start_epoch == 1:
            for summary in _hparams(folder.parent.name, flat, hparams):
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


def _hparams(name: str, flat: Flat, kinds: Mapping[str, str] | None) -> list[Summary]:
    """What TensorBoard's page HPARAMS reads: the table's columns, and this trial's values.

    TensorBoard takes the columns from the first trial that it finds, so every trial of a search writes the same.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
    from tensorboard.plugins.hparams.metadata import (
        EXPERIMENT_TAG,
        SESSION_START_INFO_TAG,
        create_summary_metadata,
    )

    types = {
        "number": api_pb2.DATA_TYPE_FLOAT64, "flag": api_pb2.DATA_TYPE_BOOL, "text": api_pb2.DATA_TYPE_STRING,
    }  # fmt: skip
    kinds = kinds if kinds is not None else {key: _kind(value) for key, value in flat.items()}
    columns = plugin_data_pb2.HParamsPluginData(
        experiment=api_pb2.Experiment(
            hparam_infos=[
                # TensorBoard ticks five columns, those that "differ" first: the rate is among them, a kind's own keys follow
                api_pb2.HParamInfo(name=key, type=types[kind], differs=not key.startswith("ffn."))
                for key, kind in kinds.items()
            ],
            metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in HPARAMS_METRICS],
        )
    )
    values = plugin_data_pb2.HParamsPluginData(session_start_info=plugin_data_pb2.SessionStartInfo(group_name=name))
    for key, kind in kinds.items():
        if key not in flat:
            continue  # of another kind than this trial's
        value = flat[key]
        field = values.session_start_info.hparams[key]
        if kind == "number" and value is not None:
            field.number_value = float(value)
        elif kind == "flag":
            field.bool_value = bool(value)
        else:
            field.string_value = "none" if value is None else str(value)
    return [
        Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(data))])
        for tag, data in ((EXPERIMENT_TAG, columns), (SESSION_START_INFO_TAG, values))
    ]


def _kind(value: object) -> str:
    return "flag" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "text"


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
