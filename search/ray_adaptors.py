"""The three places where Ray Tune calls us: the trainable in a worker, the searcher and the scheduler in the driver.

They carry calls to `Session` and decide nothing. Tune pickles searcher and scheduler for its own records, which we
never read back (the store is the truth), so what cannot be pickled is dropped there.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util import get_current_placement_group

from search.gang import Gang, WorkerLostError
from search.session import Session
from search.told import display_name
from search.worker import TrialWorker

WORK = "arbor"
"""The key under which a Tune config carries what is not the trial's dictionary: ids, folder, resources."""

_DIED = "the trial's worker process died"


class TrialActor(tune.Trainable):
    """Trains one trial, an epoch a step; reused for the next trial when Tune has one for the same resources.

    A trial of one worker trains in this process, one of several in those of a `Gang`. What goes wrong in our own code
    becomes a result that says so; only the death of a process is left to Tune, which then starts the trial again
    elsewhere, where it finds its checkpoint.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._flat = {key: value for key, value in config.items() if key != WORK}
        self._work = config[WORK]
        self._worker: TrialWorker | Gang | None = None

    def __repr__(self) -> str:
        """What Ray's dashboard shows of this worker: Ray reads it once, when the worker starts on its first trial."""
        return f"{self._work['trial'].rpartition('.')[0]}, begun with {display_name(self._work)}"

    def step(self) -> dict[str, Any]:
        _name_process(display_name(self._work))
        if self._worker is None:
            self._worker = TrialWorker() if self._work["workers"] == 1 else self._new_gang()
        return self._worker.step(self._flat, self._work)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        worker = self._worker
        if worker is not None:
            worker.end()
        self.setup(new_config)
        if not isinstance(worker, Gang) or worker.alive:
            self._worker = worker
        return True

    def cleanup(self) -> None:
        if self._worker is not None:
            self._worker.end()
        if isinstance(self._worker, Gang):
            self._worker.kill()

    def _new_gang(self) -> Gang:
        group = get_current_placement_group()
        assert group is not None  # Tune has one for each trial
        return Gang(group, self._work)


def _name_process(name: str) -> None:
    """What `ps`, and Ray's dashboard under Cluster, call this worker until its epoch is over."""
    set_title = getattr(ray._raylet, "setproctitle", None)  # not part of Ray's interface
    if set_title is not None:
        set_title(f"ray::{name}")


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
            report = Report.from_plain(json.loads(result["report"]))
            stop = self._session.report(own, report, json.loads(result["provenance"]))
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker process is gone. Tune starts the trial again, up to the retries of the driver."""
        self._session.lose(trial.config[WORK]["trial"], _loss(trial), retried=trial.should_recover())

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _loss(trial: Any) -> str:
    """Why Tune lost a trial, from its notes: a process that died has no more to say, one that raised has."""
    notes = Path(trial.error_file).read_text().rpartition("Failure # ")[2].strip().splitlines()
    lost = notes[-1].partition(f"{WorkerLostError.__name__}: ")[2] if notes else ""
    if lost:
        return lost
    raised = any(line.startswith("Traceback") for line in notes)
    return f"the trial's worker process raised {notes[-1].strip()}" if raised else _DIED
