"""Where Tune's loop lets the watchdog look, and how it kills: through Ray, which reaches other hosts and child actors."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray import tune

from search.ray_adaptors import WORK
from search.session import Session
from search.watchdog import Watchdog

LOOK_SECONDS = 0.25


class Watching(tune.Callback):
    """Looks for silent workers at every turn of Tune's loop, and kills them; Tune then takes its way of a lost worker.

    A process that is stopped ignores Ray's request to end; its raylet sends SIGKILL to it, and to the child actors whose
    owner it was, within 10 s.
    """

    def __init__(self, session: Session, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._looked = 0.0
        for row in session.store.trials(session.search_id):  # what earlier drivers of the search have seen
            if row.epochs and row.wall_seconds:
                watchdog.learn(row.id, row.config["ffn"], row.wall_seconds / row.epochs)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        actors = {
            trial.config[WORK]["trial"]: (trial.temporary_state.ray_actor, trial.config["ffn"])
            for trial in trials
            if trial.status == "RUNNING" and trial.temporary_state.ray_actor is not None
        }
        for trial_id, (_, kind) in actors.items():
            if not self._watchdog.knows(trial_id):
                self._watchdog.began(trial_id, kind)
        self._watchdog.keep_only(actors)
        for silence in self._watchdog.look():
            self._watchdog.killed[silence.trial_id] = f"{silence.in_words}, and was killed"
            ray.kill(actors[silence.trial_id][0])

    def __getstate__(self) -> dict[str, Any]:
        return {}
