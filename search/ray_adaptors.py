"""The three places where Ray Tune calls us: the trainable in a worker, the searcher and the scheduler in the driver.

They carry calls to `Session` and decide nothing. Tune pickles searcher and scheduler for its own records, which we
never read back (the store is the truth), so what cannot be pickled is dropped there.
"""

from __future__ import annotations

import errno
import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.session import Session
from trainer.lease import SupersededError

if TYPE_CHECKING:
    from search.shipping import Shipped

WORK = "arbor"
"""The key under which a Tune config carries what is not the trial's dictionary: ids, folder, resources."""

_DIED = "the trial's worker process died"


class TrialActor(tune.Trainable):
    """Trains one trial, an epoch a step; reused for the next trial when Tune has one for the same resources.

    What goes wrong in our own code becomes a result that says so; only the death of the process itself is left to Tune,
    which then starts the trial again elsewhere, where it finds its checkpoint.
    """

    def setup(self, config: dict[str, Any], shipped: Shipped | None = None) -> None:
        """`shipped`: what a node of a joined cluster may lack; Tune gives it for each trial."""
        self._flat = {key: value for key, value in config.items() if key != WORK}
        self._work, self._shipped = config[WORK], shipped
        self._trial: Any = None
        self._reports: Any = None

    def step(self) -> dict[str, Any]:
        try:
            if self._trial is None:
                self._begin()
                provenance = self._provenance()
            else:
                provenance = {}
            report = next(self._reports)
        except SupersededError:
            return {"superseded": True}
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
            return {"disk_full": str(error.filename or self._work["folder"])}
        except Exception as error:  # noqa: BLE001  # the driver shows it and goes on
            return {"failed": _cause(error), "traceback": traceback.format_exc()}
        return {
            "attempt": self._work["attempt"],
            "epoch": report.row.epoch,
            "val_acc": report.row.val_acc,
            "val_loss": report.row.val_loss,
            "images_per_second": report.row.images_per_second,
            # as text, because Tune flattens what is nested
            "report": json.dumps(report.to_plain()),
            "provenance": json.dumps(provenance | {"gpu_memory_bytes": report.gpu_memory_bytes}),
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None

    def _begin(self) -> None:
        if self._shipped is not None:
            self._work |= {"data": self._shipped.dataset_path(), "variants": self._shipped.variant_paths()}
        from arch_space.registry import FFN
        from trainer.config import TrialConfig
        from trainer.engine import device_of
        from trainer.lease import Lease
        from trainer.resolve import cached_dataset
        from trainer.trial import Trial

        for path in self._work["variants"]:
            FFN.discover(path)
        folder = Path(self._work["folder"])
        self._trial = Trial(
            TrialConfig.from_flat(self._flat),
            folder,
            device=device_of(self._work["gpus"] > 0),
            threads=self._work["threads"],
            reported=self._work["reported"],
            dataset=cached_dataset(self._work["data"]),
            guard=Lease(folder, self._work["attempt"]).check,
        )
        self._reports = self._trial.reports()

    def _provenance(self) -> dict[str, Any]:
        from trainer.fingerprint import trial_fingerprint

        said = trial_fingerprint(self._trial)
        return said if self._shipped is None or said["git_commit"] else said | self._shipped.code


def _cause(error: Exception) -> str:
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "the GPU's memory is full: run fewer trials at once, or raise accumulation"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


@contextmanager
def _noted(session: Session) -> Iterator[None]:
    """Keep an OSError for the driver: Tune passes on only its text."""
    try:
        yield
    except OSError as error:
        session.broken = error
        raise


class SessionSearcher(Searcher):
    """Asks the session for the next trial, and tells it when Tune has given one up."""

    def __init__(self, session: Session, work: dict[str, Any]) -> None:
        super().__init__(metric="val_acc", mode="max")
        self._session, self._work = session, work
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        with _noted(self._session):
            assignment = self._session.next_trial()
        if assignment is None:
            return Searcher.FINISHED if self._session.done else None
        self._ids[trial_id] = assignment.trial_id
        own = {
            "trial": assignment.trial_id,
            "attempt": self._session.attempt(assignment.trial_id),
            "folder": str(assignment.folder),
            "reported": assignment.reported,
            **self._work,
        }
        return {**assignment.flat, WORK: own}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        own = self._ids.pop(trial_id, None)
        if own is None:
            return
        if error:
            self._session.fail(own, f"{self._session.lost.get(own, _DIED)}, again after each retry")
        self._session.release(own)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a session is made from the store."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SessionScheduler(FIFOScheduler):
    """Commits each report through the session before Tune acts on it, and passes on its verdict."""

    def __init__(self, session: Session) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._session = session

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        from trainer.report import Report

        own = trial.config[WORK]["trial"]
        with _noted(self._session):
            if "disk_full" in result:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), result["disk_full"])
            if "failed" in result:
                self._session.fail(own, result["failed"])
                return TrialScheduler.STOP
            if "superseded" in result:
                self._session.superseded(own)
                return TrialScheduler.STOP
            report = Report.from_plain(json.loads(result["report"]))
            provenance = json.loads(result["provenance"])
            stop = self._session.report(own, report, provenance, attempt=result["attempt"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker process is gone. Tune starts the trial again, up to the retries of the driver."""
        own = trial.config[WORK]["trial"]
        retried = trial.should_recover()
        self._session.lose(own, _loss(trial), retried=retried)
        if retried:  # before Tune reads the config again: a lost worker may not be dead
            with _noted(self._session):
                trial.config[WORK]["attempt"] = self._session.attempt(own)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _loss(trial: Any) -> str:
    """Why Tune lost a trial, from its notes: a process that died has no more to say, one that raised has."""
    notes = Path(trial.error_file).read_text().rpartition("Failure # ")[2].strip().splitlines()
    raised = any(line.startswith("Traceback") for line in notes)
    return f"the trial's worker process raised {notes[-1].strip()}" if raised else _DIED
