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
from typing import TYPE_CHECKING, Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.util import get_current_placement_group

from search.deaths import cause_of_death, killed_for_memory
from search.gang import Gang
from search.session import Session
from search.told import display_name
from search.watchdog import Watchdog
from search.worker import TrialWorker
from trainer.ahead import compile_ahead
from trainer.config import TrialConfig
from trainer.memory import finer

if TYPE_CHECKING:
    from search.shipping import Shipped

WORK = "arbor"
"""The key under which a Tune config carries what is not the trial's dictionary: ids, folder, resources."""


class TrialActor(tune.Trainable):
    """Trains one trial, an epoch a step; reused for the next trial when Tune has one for the same resources.

    A trial of one worker trains in this process, one of several in those of a `Gang`. What goes wrong in our own code
    becomes a result that says so; at the death of a process Tune gives up, and the session has the trial started again
    elsewhere, where it finds its checkpoint.
    """

    def setup(self, config: dict[str, Any], shipped: Shipped | None = None) -> None:
        """`shipped`: what a node of a joined cluster may lack; Tune gives it for each trial."""
        self._flat = {key: value for key, value in config.items() if key != WORK}
        self._work, self._shipped = config[WORK], shipped
        self._fresh = True
        self._worker: TrialWorker | Gang | None = getattr(self, "_worker", None)

    def __repr__(self) -> str:
        """What Ray's dashboard shows of this worker: Ray reads it once, when the worker starts on its first trial."""
        return f"{self._work['trial'].rpartition('.')[0]}, begun with {display_name(self._work)}"

    def step(self) -> dict[str, Any]:
        _name_process(display_name(self._work))
        if self._fresh and self._worker is not None:
            self._worker.end()  # the trial before; in `reset_config` the watchdog would not see it hang
        self._fresh = False
        if self._worker is None or not self._worker.alive:
            self._worker = TrialWorker(shipped=self._shipped) if self._work["workers"] == 1 else self._new_gang()
        result = self._worker.step(self._flat, self._work)
        if "out_of_memory" in result:  # the next step begins anew; the driver, which may stop the trial, counts alike
            config = TrialConfig.from_flat(self._flat)
            self._work["accumulation"] = finer(
                config.batch_size // self._work["workers"], config.accumulation, result["out_of_memory"]
            )
        return result

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        if self._worker is not None:
            self._worker.end()
        if isinstance(self._worker, Gang):
            self._worker.kill()

    def _new_gang(self) -> Gang:
        group = get_current_placement_group()
        assert group is not None  # Tune has one for each trial
        return Gang(group, self._work, self._shipped)


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
    """Asks the session for the next trial, and tells it when Tune has given one up.

    Args:
        work: what is the same for all trials.
        ahead: whether to compile for the first trial here, while Ray starts its worker.
    """

    def __init__(self, session: Session, work: dict[str, Any], *, ahead: bool) -> None:
        super().__init__(metric="val_acc", mode="max")
        self._session, self._work, self._ahead = session, work, ahead
        self._ids: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is text
        with _noted(self._session):
            assignment = self._session.next_trial()
        if assignment is None:
            return Searcher.FINISHED if self._session.done else None
        if self._ahead:
            self._ahead = False
            compile_ahead(assignment.flat, self._work["variants"])
        self._ids[trial_id] = assignment.trial_id
        own = {
            "trial": assignment.trial_id,
            "attempt": self._session.attempt(assignment.trial_id),
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
        if not error:
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
            if "superseded" in result:
                self._session.superseded(own, trial.config[WORK]["attempt"])
                return TrialScheduler.STOP
            if "out_of_memory" in result:
                more = self._session.run_out_of_memory(own, result["out_of_memory"])
                trial.config[WORK]["accumulation"] = more
                return TrialScheduler.STOP if more is None else TrialScheduler.CONTINUE
            report = Report.from_plain(json.loads(result["report"]))
            self._watchdog.learn(own, trial.config["ffn"], report.row.train_seconds + report.row.val_seconds)
            provenance = json.loads(result["provenance"])
            stop = self._session.report(own, report, provenance, attempt=result["attempt"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A worker process is gone; Tune gives this trial of its own up, and the session gives ours out anew."""
        own = trial.config[WORK]["trial"]
        now = killed_for_memory()
        how = self._watchdog.killed.pop(own, None) or cause_of_death(
            Path(trial.error_file).read_text(), now - self._killed_before
        )
        self._killed_before = now
        self._watchdog.ended(own)
        with _noted(self._session):
            self._session.lose(own, how)

    def __getstate__(self) -> dict[str, Any]:
        return {}
