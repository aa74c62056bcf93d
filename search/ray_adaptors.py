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
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.deaths import cause_of_death, killed_for_memory
from search.session import Session
from search.watchdog import Watchdog
from trainer.config import TrialConfig
from trainer.memory import finer, is_out_of_memory

WORK = "arbor"
"""The key under which a Tune config carries what is not the trial's dictionary: ids, folder, resources."""


class TrialActor(tune.Trainable):
    """Trains one trial, an epoch a step; reused for the next trial when Tune has one for the same resources.

    What goes wrong in our own code becomes a result that says so; only the death of the process itself is left to Tune,
    which then starts the trial again elsewhere, where it finds its checkpoint.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._flat = {key: value for key, value in config.items() if key != WORK}
        self._work = config[WORK]
        self._begun = False
        self._trial: Any = getattr(self, "_trial", None)
        self._reports: Any = None

    def step(self) -> dict[str, Any]:
        if not self._begun:
            self.cleanup()  # of the trial before; in `reset_config` the watchdog would not see it hang
        try:
            return self._next_report()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
            return {"disk_full": str(error.filename or self._work["folder"])}
        except Exception as error:  # noqa: BLE001  # the driver shows it and goes on
            if not is_out_of_memory(error):
                return {"failed": _cause(error), "traceback": traceback.format_exc()}
        return self._cut_finer()  # not in the handler, where the error still holds what fills the memory

    def _next_report(self) -> dict[str, Any]:
        provenance: dict[str, Any] = {}
        if not self._begun:
            self._begin()
            provenance = self._provenance()
        report = next(self._reports)
        return {
            "epoch": report.row.epoch,
            "val_acc": report.row.val_acc,
            "val_loss": report.row.val_loss,
            "images_per_second": report.row.images_per_second,
            # as text, because Tune flattens what is nested
            "report": json.dumps(report.to_plain()),
            "provenance": json.dumps(provenance | {"gpu_memory_bytes": report.gpu_memory_bytes}),
        }

    def _cut_finer(self) -> dict[str, Any]:
        """Have the next step begin anew with smaller micro-batches; the driver, which may stop the trial, counts alike."""
        full = self._work["accumulation"]
        self.cleanup()
        config = TrialConfig.from_flat(self._flat)
        self._work["accumulation"] = finer(config.batch_size, config.accumulation, full)
        self._begun = False
        return {"out_of_memory": full}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = self._reports = None

    def _begin(self) -> None:
        from arch_space.registry import FFN
        from trainer.engine import device_of
        from trainer.resolve import cached_dataset
        from trainer.trial import Trial

        for path in self._work["variants"]:
            FFN.discover(path)
        self._trial = Trial(
            TrialConfig.from_flat(self._flat),
            Path(self._work["folder"]),
            device=device_of(self._work["gpus"] > 0),
            threads=self._work["threads"],
            reported=self._work["reported"],
            accumulation=self._work["accumulation"],
            dataset=cached_dataset(self._work["data"]),
        )
        self._reports = self._trial.reports()
        self._begun = True

    def _provenance(self) -> dict[str, Any]:
        from trainer.fingerprint import trial_fingerprint

        return trial_fingerprint(self._trial)


def _cause(error: Exception) -> str:
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # torch's allocator on a CPU says this
        return "this machine's memory is full: run fewer trials at once, or smaller batches"
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
            "folder": str(assignment.folder),
            "reported": assignment.reported,
            "accumulation": assignment.accumulation,
            **self._work,
        }
        return {**assignment.flat, WORK: own}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        own = self._ids.pop(trial_id, None)
        if own is None:
            return
        if error:
            self._session.give_up(own)
        self._session.release(own)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a session is made from the store."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SessionScheduler(FIFOScheduler):
    """Commits each report through the session before Tune acts on it, and passes on its verdict."""

    def __init__(self, session: Session, watchdog: Watchdog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._session, self._watchdog = session, watchdog
        self._killed_before = killed_for_memory()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune counts the losses of this driver, the store those of all: give Tune the number that comes to the same."""
        trial.max_failures = trial.num_failures + self._session.retries_left(trial.config[WORK]["trial"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        from trainer.report import Report

        own = trial.config[WORK]["trial"]
        self._watchdog.heard(own)
        with _noted(self._session):
            if "disk_full" in result:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), result["disk_full"])
            if "failed" in result:
                self._session.fail(own, result["failed"])
                return TrialScheduler.STOP
            if "out_of_memory" in result:
                more = self._session.run_out_of_memory(own, result["out_of_memory"])
                trial.config[WORK]["accumulation"] = more  # from which Tune makes the next worker, should this one die
                return TrialScheduler.STOP if more is None else TrialScheduler.CONTINUE
            report = Report.from_plain(json.loads(result["report"]))
            self._watchdog.learn(own, trial.config["ffn"], report.row.train_seconds + report.row.val_seconds)
            stop = self._session.report(own, report, json.loads(result["provenance"]))
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker process is gone. Tune starts the trial again, up to the retries that it has left."""
        own = trial.config[WORK]["trial"]
        now = killed_for_memory()
        how = self._watchdog.killed.pop(own, None) or cause_of_death(
            Path(trial.error_file).read_text(), now - self._killed_before
        )
        self._killed_before = now
        self._watchdog.ended(own)
        with _noted(self._session):
            self._session.lose(own, how)
        trial.config[WORK]["reported"] = self._session.trials[own].epochs

    def __getstate__(self) -> dict[str, Any]:
        return {}
