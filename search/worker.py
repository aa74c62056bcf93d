"""What trains in a process of Ray's: one trial at a time, an epoch a step, whatever goes wrong as a result that says so."""

from __future__ import annotations

import errno
import json
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.ranks import World


class TrialWorker:
    """A trial in this process, from its dictionary and `work`: its ids, folder and resources.

    Args:
        world: the place of this process among the trial's workers; none for a trial with one.
    """

    def __init__(self, world: World | None = None) -> None:
        self._world = world
        self._trial: Any = None
        self._reports: Any = None

    def step(self, flat: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        """One epoch of the trial, which the first call begins: Tune's result, or one with `failed` or `disk_full`."""
        try:
            if self._trial is None:
                self._begin(flat, work)
                provenance = self._provenance()
            else:
                provenance = {}
            report = next(self._reports)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
            return {"disk_full": str(error.filename or work["folder"])}
        except Exception as error:  # noqa: BLE001  # the driver shows it and goes on
            return {"failed": _cause(error), "traceback": traceback.format_exc()}
        return {
            "epoch": report.row.epoch,
            "val_acc": report.row.val_acc,
            "val_loss": report.row.val_loss,
            "images_per_second": report.row.images_per_second,
            # as text, because Tune flattens what is nested
            "report": json.dumps(report.to_plain()),
            "provenance": json.dumps(provenance | {"gpu_memory_bytes": report.gpu_memory_bytes}),
        }

    def end(self) -> None:
        """Leave the trial, and be free for the next one."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _begin(self, flat: dict[str, Any], work: dict[str, Any]) -> None:
        from arch_space.registry import FFN
        from trainer.config import TrialConfig
        from trainer.engine import device_of
        from trainer.ranks import SINGLE
        from trainer.resolve import cached_dataset
        from trainer.trial import Trial

        for path in work["variants"]:
            FFN.discover(path)
        self._trial = Trial(
            TrialConfig.from_flat(flat),
            Path(work["folder"]),
            device=device_of(work["gpus"] > 0),
            threads=work["threads"],
            reported=work["reported"],
            dataset=cached_dataset(work["data"]),
            world=self._world or SINGLE,
        )
        self._reports = self._trial.reports()

    def _provenance(self) -> dict[str, Any]:
        from trainer.fingerprint import trial_fingerprint

        return trial_fingerprint(self._trial)


def _cause(error: Exception) -> str:
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "the GPU's memory is full: run fewer trials at once, or raise accumulation"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
