"""A running search without Ray: what to train next, what a report means, and the store that knows it all.

The store is committed to before anything is acted on, so whatever kills the driver, a session opened again on the same
search knows as much as the dead one did: rungs, sampler, unfinished trials. Ray's adaptors (`search.ray_adaptors`) only
carry calls to here.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results.losses import Loss, accumulations, causes, lost_workers, with_loss
from results.rows import DecisionRow, TrialRow
from results.store import ENDED, STOPPED_AS_ASKED, Store
from search.budget import Budget
from search.ended import Ended
from search.experiment import Experiment
from search.requested import Requested
from search.sampler import Suggester
from search.schedulers import judge_again
from search.supply import Supply
from search.verdict import NOT_JUDGED, Entrant, Verdict
from trainer import checkpoint
from trainer.config import Flat
from trainer.dataset import Header
from trainer.lease import SupersededError
from trainer.memory import finer
from trainer.report import Report

RETRIES = 2
"""How often a trial whose worker was lost starts again from its checkpoint, over all drivers of its search."""
REPORTED_ENDS = frozenset({"finished", "plateau", "diverged"})
"""How a trial may end by itself; the scheduler is not asked about the report that says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A trial for a worker: its dictionary, its folder, and how many of its epochs the store has."""

    trial_id: str
    number: int
    flat: Flat
    folder: Path
    reported: int
    accumulation: int
    """Micro-batches a step: more than the dictionary asks where the GPU's memory did not suffice."""


class Session:
    """The state of one search while its driver lives.

    Args:
        gpus_per_trial: a share of a GPU, or 0; counted into `gpu_seconds`.
        gpu_hours: time is up once the live trials of this session have held GPUs for so long together.
        on_event: called with the trial's row after every commit, for a live view.
        header: of the data set; none where the trials' dictionaries are complete without it, as stored ones are.
        sampler: what suggests a search's trials; none = as the experiment says.
        clock: seconds that only grow; a simulation has its own.
        trials_folder: of the trials' folders; none = `folder`, which has what else a search writes.
    """

    def __init__(
        self,
        store: Store,
        search_id: str,
        experiment: Experiment,
        *,
        folder: Path,
        header: Header | None,
        concurrency: int,
        gpus_per_trial: float,
        startup_trials: int,
        time_budget_seconds: float | None = None,
        gpu_hours: float | None = None,
        on_event: Callable[[TrialRow, Report | None, Verdict | None], None] = lambda row, report, verdict: None,
        sampler: Suggester | None = None,
        clock: Callable[[], float] = time.monotonic,
        trials_folder: Path | None = None,
    ) -> None:
        self.store, self.search_id, self.experiment, self.folder = store, search_id, experiment, folder
        self.concurrency = concurrency
        self.header, self._gpus = header, gpus_per_trial
        self.on_event = on_event
        self.on_note: Callable[[str], None] = lambda sentence: None

        self.budget = Budget(
            seconds=time_budget_seconds, gpu_hours=gpu_hours, gpus_per_trial=gpus_per_trial, clock=clock
        )
        self.scheduler = experiment.build_scheduler()
        self.unfinished: dict[str, TrialRow] = {}
        """The trials that have not ended, by their ids; of the others the store has the rows."""
        self.ended = Ended()
        self.broken: OSError | None = None
        """What made it impossible to go on, such as a full disk."""
        self._live: set[str] = set()
        self._waiting: list[tuple[bool, int, str]] = []
        """A heap of the trials that have neither ended nor a worker, by their numbers; those that a killed driver was
        training come first, as if it had not been killed."""
        self.requested = Requested(store, search_id)
        rows, curves = store.trials(search_id), store.curves(search_id)
        self.supply = Supply(
            store,
            search_id,
            experiment,
            sampler=sampler,
            startup_trials=startup_trials,
            header=header,
            on_gpu=gpus_per_trial > 0,
            trials_folder=trials_folder if trials_folder is not None else folder,
            rows=rows,
            curves=curves,
        )
        self._take_up(rows, curves)

    # what to train next

    def next_trial(self) -> Assignment | None:
        """The next trial for a free slot; none where all slots are taken, or nothing is left (see `done`)."""
        self.heed()
        if len(self._live) >= self.concurrency or self._winding_up:
            return None
        if self._waiting:
            row: TrialRow | None = self.unfinished[heapq.heappop(self._waiting)[-1]]
        else:
            row = self.supply.new(self.begun + 1)
            for why in self.supply.refusals:
                self.on_note(f"A point of the space cannot be trained and is passed over: {why}")
            self.supply.refusals.clear()
        if row is None:
            return None
        self._live.add(row.id)
        self.budget.hold(len(self._live))
        self._update(row.id, status="running", started=row.started or datetime.now(UTC))
        return Assignment(
            trial_id=row.id,
            number=row.number,
            flat=dict(row.config),
            folder=Path(row.provenance["folder"]),
            reported=row.epochs,
            accumulation=accumulations(row.provenance, row.config["accumulation"])[-1][1],
        )

    @property
    def done(self) -> bool:
        """Whether no trial will be given out any more. While one runs, it may be paused and asked for again."""
        return self._winding_up or not (self._waiting or self.supply.has_new(self.begun) or self._live)

    @property
    def paused(self) -> list[str]:
        """The trials that were paused one by one, and wait until they are asked for."""
        return [row.id for row in self.unfinished.values() if row.status == "paused"]

    @property
    def begun(self) -> int:
        """Trials that the search has so far, ended ones too."""
        return len(self.unfinished) + len(self.ended)

    def trial(self, trial_id: str) -> TrialRow:
        """A trial of this search, whether it has ended or not."""
        return self.unfinished.get(trial_id) or self.store.trial(trial_id)

    @property
    def _winding_up(self) -> bool:
        return self.budget.used_up or self.requested.ending is not None

    @property
    def planned(self) -> int:
        """Trials that the search has when it ends."""
        return self.supply.planned(self.begun)

    @property
    def complete(self) -> bool:
        """Whether every planned trial has come to an end of its own."""
        return not self.supply.has_new(self.begun) and not self.unfinished

    # what a report means

    def attempt(self, trial_id: str) -> int:
        """The number of the worker that is about to train a trial: above any before, whichever driver gave them."""
        number = int(self.unfinished[trial_id].provenance.get("attempt", 0)) + 1
        self._update(trial_id, provenance={"attempt": number})
        return number

    def report(self, trial_id: str, report: Report, provenance: dict[str, Any], *, attempt: int | None = None) -> bool:
        """Commit one epoch and what follows from it; whether the trial stops here.

        A report of an epoch that the store has, of a trial that has ended, or of an earlier `attempt` than the latest (a
        worker which was cut off and came back), changes nothing.
        """
        self.heed()
        row = self.trial(trial_id)
        if attempt is not None and attempt < row.provenance.get("attempt", 0):
            return False
        if row.status in ENDED or row.status == "paused":
            return True
        if report.row.epoch <= row.epochs:
            return False
        value = report.row.val_acc
        verdict = NOT_JUDGED if report.ended else self.scheduler.judge(self._entrant(row), report.row.epoch, value)
        status = report.status if report.ended else "stopped" if verdict.stop else "running"
        row = self._commit(row, report, verdict, status, provenance)
        self.supply.reported(row, report.row.epoch, value)
        if status in ENDED:
            self.supply.ended(row)
            self.release(trial_id)
            checkpoint.remove_resume_files(Path(row.provenance["folder"]))
        self.on_event(row, report, verdict)
        if status not in ENDED:
            self._act(trial_id)
        now = self.unfinished.get(trial_id)
        return now is None or now.status != "running" or self._winding_up

    def fail(self, trial_id: str, cause: str, **columns: Any) -> None:
        """A trial that will not go on: its worker died too often, or its code raised."""
        row = self.unfinished.get(trial_id)
        if row is None:
            return
        row = self._update(trial_id, status="failed", cause=cause[:2000], ended=datetime.now(UTC), **columns)
        self.release(trial_id)
        self.supply.ended(row)
        checkpoint.remove_resume_files(Path(row.provenance["folder"]))
        self.on_event(row, None, None)

    # what was asked from another terminal

    def heed(self) -> None:
        """Look for requests, and act on those that need not wait for a trial to end its epoch."""
        for trial_id in self.requested.look():
            if trial_id not in self._live or self.requested.of(trial_id) == "resume":
                self._act(trial_id)
        if self.requested.ending == "stop":
            for row in list(self.unfinished.values()):
                if row.id not in self._live:
                    self._stop_as_asked(row)

    def _act(self, trial_id: str) -> None:
        """Do with a trial what was asked last, if anything: it has no worker, or has just reported."""
        row = self.trial(trial_id)
        asked = "stop" if self.requested.ending == "stop" else self.requested.of(trial_id)
        if row.status in ENDED:
            self.requested.done(trial_id)
        elif asked == "stop":
            self._stop_as_asked(row)
        elif asked == "pause":
            if row.status != "paused":
                self._update(trial_id, status="paused")
                self.release(trial_id)
                self._wait_no_more(row)
                self.on_note(f"{trial_id}: paused as asked, after epoch {row.epochs}.")
            self.requested.done(trial_id)
        elif asked == "resume":
            if row.status == "paused":
                self._update(trial_id, status="interrupted")
                heapq.heappush(self._waiting, _turn(row))
                self.on_note(f"{trial_id}: goes on as asked, after epoch {row.epochs}.")
            self.requested.done(trial_id)

    def _stop_as_asked(self, row: TrialRow) -> None:
        """To the sampler, such a trial is one that a scheduler stopped."""
        row = self._update(row.id, status="stopped", cause=STOPPED_AS_ASKED, ended=datetime.now(UTC))
        self.release(row.id)
        self._wait_no_more(row)
        self.supply.ended(row)
        checkpoint.remove_resume_files(Path(row.provenance["folder"]))
        self.requested.done(row.id)
        self.on_note(f"{row.id}: stopped as asked, after epoch {row.epochs}.")

    def _wait_no_more(self, row: TrialRow) -> None:
        self._waiting = [turn for turn in self._waiting if turn[1] != row.number]
        heapq.heapify(self._waiting)

    # workers that go

    def lose(self, trial_id: str, how: str) -> None:
        """A worker is gone in the middle of a trial, which goes on from its checkpoint or, after the last retry, has failed.

        It is the next one to be given out, as if it had never had the worker.
        """
        row = self.unfinished.get(trial_id)
        if row is not None and row.status != "paused":
            loss = Loss(epoch=row.epochs, cause=how)
            known = lost_workers(row.provenance)
            if len(known) < RETRIES:
                self._update(trial_id, provenance=with_loss(row.provenance, loss))
                retry = f"retry {len(known) + 1} of {RETRIES}"
                self.on_note(f"{trial_id}: {loss.in_words}; it starts again from its last checkpoint ({retry}).")
            else:
                self.fail(trial_id, _given_up([*known, loss]), provenance=with_loss(row.provenance, loss))
        self.release(trial_id)

    def run_out_of_memory(self, trial_id: str, accumulation: int) -> int | None:
        """The GPU's memory did not suffice for a step of so many micro-batches; how many the trial goes on with, if any.

        Committed before the worker does so.
        """
        row = self.unfinished.get(trial_id)
        if row is None or row.status == "paused":
            return None
        batch = row.config["batch_size"]
        full = f"the GPU's memory was full with micro-batches of {batch // accumulation}"
        workers = max(1, int(self._gpus))  # each has its part of the batch, on a GPU of its own
        more = finer(batch // workers, row.config["accumulation"], accumulation)
        if more is None:
            self.fail(
                trial_id,
                f"{full}, and smaller ones were tried or cannot be: run fewer trials at once, or give each more of a GPU",
            )
            return None
        loss = Loss(epoch=row.epochs, cause=full, accumulation=more)
        self._update(trial_id, provenance=with_loss(row.provenance, loss))
        self.on_note(f"{trial_id}: {loss.in_words}; it goes on with {more} of {batch // more} images a step.")
        return more

    def superseded(self, trial_id: str, attempt: int) -> None:
        """A worker of ours has found that its trial has ended, or that a later worker trains it.

        Raises:
            SupersededError: that one is not ours: another driver has taken the search up, so it is no longer ours to end.
        """
        row = self.unfinished.get(trial_id)
        if row is not None and row.status != "paused" and attempt >= row.provenance.get("attempt", 0):
            raise SupersededError(f"Another process drives {self.search_id} by now.")

    def release(self, trial_id: str) -> None:
        """The trial holds no worker and no GPU any more, though it may go on later (time is up, Ctrl-C)."""
        if trial_id not in self._live:
            return
        self._live.discard(trial_id)
        self.budget.hold(len(self._live))
        row = self.unfinished.get(trial_id)
        if row is not None and row.status != "paused":
            heapq.heappush(self._waiting, _turn(row))

    def close(self) -> str:
        """Mark what is unfinished as interrupted and say how the search stands.

        `ended`; `stopped` or `paused` as asked, or `paused` because all that is left are trials that were paused one by
        one; else `interrupted`.
        """
        for row in list(self.unfinished.values()):
            if row.status == "running":
                self._update(row.id, status="interrupted")
        unfinished = list(self.unfinished.values())
        status = "interrupted"
        if self.complete:
            status = "ended"
        elif self.requested.ending == "stop" and not unfinished:
            status = "stopped"
        elif self.requested.ending == "pause" or (unfinished and not self._waiting and not self.supply.has_new(self.begun)
                                                  and all(row.status == "paused" for row in unfinished)):  # fmt: skip
            status = "paused"
        self.requested.end()
        self.store.update_search(self.search_id, status=status)
        return status

    def remove_left_files(self) -> None:
        """What workers that were killed wrote after their trials had ended. Call when no worker is left."""
        for row in self.store.trials(self.search_id):
            folder = Path(row.provenance["folder"])
            if row.status in ENDED and (folder / checkpoint.LAST).exists():
                checkpoint.remove_resume_files(folder)

    def group(self, row: TrialRow) -> str:
        """The race in which a trial runs: its feed-forward kind, unless rungs are pooled."""
        return self.experiment.race(row.config["ffn"])

    def _entrant(self, row: TrialRow) -> Entrant:
        return Entrant(row.number, self.group(row))

    def _commit(
        self, row: TrialRow, report: Report, verdict: Verdict, status: str, provenance: dict[str, Any]
    ) -> TrialRow:
        decision = None
        if verdict.rung is not None:
            decision = DecisionRow(
                trial_id=row.id,
                epoch=report.row.epoch,
                scheduler=self.scheduler.name,
                rung=verdict.rung,
                value=verdict.value,
                cutoff=verdict.cutoff,
                decision="stop" if verdict.stop else "continue",
                created=datetime.now(UTC),
            )
        columns = report.columns(self._gpus)
        if status == "stopped":
            columns.update(status=status, cause=self._cause(verdict), ended=datetime.now(UTC))
        if provenance:
            columns["provenance"] = provenance
        self.store.commit_report(row.id, report.row, decision, **columns)
        return self._read_again(row.id)

    def _cause(self, verdict: Verdict) -> str:
        if verdict.value is None or verdict.cutoff is None:
            return f"{self.scheduler.name}: the accuracy at epoch {verdict.rung} was not a number"
        return f"{self.scheduler.name}: {verdict.value:.4f} below {verdict.cutoff:.4f} at epoch {verdict.rung}"

    def _update(self, trial_id: str, **columns: Any) -> TrialRow:
        self.store.update_trial(trial_id, **columns)
        return self._read_again(trial_id)

    def _read_again(self, trial_id: str) -> TrialRow:
        """After every change of a trial."""
        row = self.unfinished[trial_id] = self.store.trial(trial_id)
        if row.status in ENDED:
            del self.unfinished[trial_id]
            self.ended.add(row)
        return row

    # after any crash

    def _take_up(self, rows: Sequence[TrialRow], curves: Mapping[str, Sequence[float | None]]) -> None:
        """Bring back rungs and unfinished trials from the store."""
        self.unfinished = {row.id: row for row in rows if row.status not in ENDED}
        self._waiting = sorted(_turn(row) for row in rows if row.status not in (*ENDED, "paused"))
        judge_again(
            self.scheduler,
            [(decision.trial_id, decision.epoch) for decision in self.store.decisions(self.search_id)],
            {
                row.id: (self._entrant(row), curves[row.id][: len(curves[row.id]) - (row.status in REPORTED_ENDS)])
                for row in rows
                if row.id in curves
            },
        )
        for row in rows:
            if row.status in ENDED:
                self.ended.add(row)  # next: of one killed between the commit of an end and the removal of its files
                checkpoint.remove_resume_files(Path(row.provenance["folder"]))


def _given_up(losses: Sequence[Loss]) -> str:
    """The cause of a trial that lost its worker once too often."""
    return f"given up after {len(losses)} tries: {causes(losses)}"


def _turn(row: TrialRow) -> tuple[bool, int, str]:
    return row.status != "running", row.number, row.id
