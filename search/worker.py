"""What trains in a process of Ray's: one trial at a time, an epoch a step, whatever goes wrong as a result that says so."""

from __future__ import annotations

import contextlib
import errno
import json
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.errors import InputError
from trainer.checkpoint import DAMAGED, LAST, DamagedCheckpointError
from trainer.lease import Lease, SupersededError
from trainer.lost_gpu import GpuLostError, gpu_is_lost
from trainer.memory import is_out_of_memory

if TYPE_CHECKING:
    from search.shipping import Shipped
    from trainer.ranks import World


class LostCheckpointError(RuntimeError):
    """The trial's checkpoint cannot be read and is out of the way: begun again, the trial trains from its start."""


class TrialWorker:
    """A trial in this process, from its dictionary and `work`: its ids, folder and resources.

    Args:
        world: the place of this process among the trial's workers; none for a trial with one.
        shipped: what a node of a joined cluster may lack.
    """

    def __init__(self, world: World | None = None, shipped: Shipped | None = None) -> None:
        self._world, self._shipped = world, shipped
        self._trial: Any = None
        self._reports: Any = None
        self._lost: Any = None

    @property
    def alive(self) -> bool:
        """Always, seen from within."""
        return True

    def step(self, flat: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        """One epoch of the trial, which the first call begins: Tune's result, or what went wrong.

        That is a dictionary with `failed`, `disk_full`, or `out_of_memory`, the micro-batches a step that were too few; the
        trial is left then, and may be begun again with more.

        Raises:
            GpuLostError: the GPU can be used no more in this process.
            LostCheckpointError: the trial's checkpoint was damaged.
        """
        try:
            return self._next_report(flat, work)
        except SupersededError:
            return {"superseded": True}
        except DamagedCheckpointError as error:
            folder = Path(work["folder"])
            with contextlib.suppress(FileNotFoundError):  # another rank was faster
                (folder / LAST).rename(folder / DAMAGED)
            raise LostCheckpointError(
                f"the trial's checkpoint was damaged, is kept as {DAMAGED} for now, and the trial trains from its start"
            ) from error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
            return {"disk_full": str(error.filename or work["folder"])}
        except Exception as error:
            if gpu_is_lost():
                self._lost = self._trial, self._reports  # can be neither closed nor freed before the process ends
                self._trial = self._reports = None
                raise GpuLostError(f"the GPU failed under the trial's worker process: {_cause(error)}") from error
            if not is_out_of_memory(error):
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
        self.end()  # not in the handler, where the error still holds what fills the memory
        return {"out_of_memory": work["accumulation"]}

    def _next_report(self, flat: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        provenance: dict[str, Any] = {}
        if self._reports is None:
            self._begin(flat, work)
            provenance = self._provenance()
        report = next(self._reports)
        return {
            "attempt": work["attempt"],
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
        self._trial = self._reports = None

    def _begin(self, flat: dict[str, Any], work: dict[str, Any]) -> None:
        """Raises InputError where the data are not those that the search looked at when it began, or went on."""
        from arch_space.registry import FFN
        from trainer.config import TrialConfig
        from trainer.engine import device_of
        from trainer.ranks import SINGLE
        from trainer.resolve import cached_dataset
        from trainer.trial import Trial

        data, variants = work["data"], work["variants"]
        if self._shipped is not None:
            data, variants = self._shipped.dataset_path(), self._shipped.variant_paths()
        for path in variants:
            FFN.discover(path)
        dataset = cached_dataset(data)
        if dataset.checksum != work["data_checksum"]:
            raise InputError(
                f"The data set {dataset.path} has changed since its search looked at it (checksum {dataset.checksum[:12]}, "
                f"recorded {work['data_checksum'][:12]}); put the old file back, or begin a new search with this one."
            )
        world, folder = self._world or SINGLE, Path(work["folder"])
        self._trial = Trial(
            TrialConfig.from_flat(flat),
            folder,
            device=device_of(work["gpus"] > 0),
            threads=work["threads"],
            reported=work["reported"],
            accumulation=work["accumulation"],
            dataset=dataset,
            world=world,
            hparams=work["hparams"],
            guard=Lease(folder, work["attempt"]).check if world.rank == 0 else lambda: None,
        )
        self._reports = self._trial.reports()

    def _provenance(self) -> dict[str, Any]:
        from trainer.fingerprint import trial_fingerprint

        said = trial_fingerprint(self._trial)
        return said if self._shipped is None or said["git_commit"] else said | self._shipped.code


def _cause(error: Exception) -> str:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's allocator on a CPU says this
        return "this machine's memory is full: run fewer trials at once, or smaller batches"
    if isinstance(error, InputError):
        return str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
