"""What `results.watch` shows of a search: one reading of the store, and what follows from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean, variance
from typing import Any

from results.archive import is_archived
from results.errors import InputError
from results.rows import DecisionRow, EpochRow, RequestRow, SearchRow, TrialRow
from results.store import ENDED, Store
from results.text import keys_text, plain
from results.tuned import COMPLETE, LR_TUNING

DECISIONS = 6
"""Decisions shown, the latest first."""
LEAST = 3
"""Trials that must have ended before their durations say anything of the rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rest:
    """How long the rest of a search may take, in seconds, within two standard deviations of the durations."""

    seconds: float
    low: float
    high: float
    ended: int
    """Trials that ended, from which it is."""
    slots: int
    """Trials at once."""
    at_most: bool
    """Whether it is only an upper bound: every trial to its full length, because too few have ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """A search at one moment."""

    search: SearchRow
    trials: Sequence[TrialRow]
    epochs: Mapping[str, Sequence[EpochRow]]
    """The recorded epochs of the trials that run, and of the best one."""
    decisions: Sequence[DecisionRow]
    """The latest ones, the latest first."""
    requests: Sequence[RequestRow]
    """What was asked for and not yet done."""
    now: datetime

    @property
    def is_running(self) -> bool:
        return self.search.status == "running"

    @property
    def silent_seconds(self) -> float | None:
        """Since the last sign of life of a running search's driver; none where there never was one."""
        if self.search.heartbeat is None:
            return None
        return max(0.0, (self.now - self.search.heartbeat).total_seconds())

    @property
    def planned(self) -> int:
        """Trials that the search has when it ends, as far as its settings say; an ended one has what it has."""
        settings = self.search.settings
        if not self.is_running and self.search.status not in ("interrupted", "paused", "stopped"):
            return len(self.trials)
        if settings.get("grid") is not None:
            each = len(settings.get("tune_lr") or ()) + len(settings.get("seeds") or (0,))
            return max(len(self.trials), len(settings["grid"]) * each)
        return max(len(self.trials), int(settings.get("trials") or 0))

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(trial.status for trial in self.trials).items()))

    @property
    def ended(self) -> list[TrialRow]:
        return [trial for trial in self.trials if trial.status in ENDED]

    @property
    def running(self) -> list[TrialRow]:
        return [trial for trial in self.trials if trial.status == "running"]

    @property
    def gpu_hours(self) -> float:
        return sum(trial.gpu_seconds or 0.0 for trial in self.trials) / 3600

    @property
    def trial_hours(self) -> float:
        """Hours in which trials lived, added up: what a search on CPUs has used."""
        return sum(trial.wall_seconds or 0.0 for trial in self.trials) / 3600

    def words(self, trial: TrialRow) -> str:
        """The keys in which the search's trials differ, with this trial's values."""
        return variant_words(trial, self.trials)


def read(store: Store, search_id: str) -> Watched:
    """Read a search now. Waits where the database is away for a while; raises InputError for an unknown id."""
    search, trials = store.search(search_id), store.trials(search_id)
    top = best(trials, search.settings.get("rungs") or ())
    shown = [trial.id for trial in trials if trial.status == "running" or trial is top]
    return Watched(
        search=search,
        trials=trials,
        epochs={name: store.epochs(name) for name in shown},
        decisions=store.decisions(search_id)[: -DECISIONS - 1 : -1],
        requests=store.requests(search_id, still_open=True),
        now=datetime.now(UTC),
    )


def latest(store: Store) -> str:
    """The latest search that is not archived. Raises InputError where there is none."""
    seen = [row.id for row in store.searches() if not is_archived(row.tags)]
    if not seen:
        raise InputError("There is no search yet; run one with: python -m search.run")
    return seen[-1]


def best(trials: Sequence[TrialRow], rungs: Sequence[int] = ()) -> TrialRow | None:
    """The highest validation accuracy of a trial that ran to its end; before there is one, of those that passed most rungs.

    Trials that tuned a learning rate do not count once one of the others ran to its end.

    A trial that runs or was stopped has its accuracy at an earlier epoch, which does not compare.
    """
    told = [trial for trial in trials if trial.val_acc is not None and math.isfinite(trial.val_acc)]
    complete = [trial for trial in told if trial.status in COMPLETE]
    if complete:
        counting = [trial for trial in complete if LR_TUNING not in trial.provenance]
        return max(counting or complete, key=lambda trial: trial.val_acc or 0.0)
    return max(
        told, key=lambda trial: (sum(rung <= trial.epochs for rung in rungs), trial.val_acc or 0.0), default=None
    )


def variant_words(trial: TrialRow, trials: Sequence[TrialRow]) -> str:
    """`fff depth=3 trees=2 lr=0.0021`: the keys in which these trials differ; kind and rate where nothing differs."""
    told: dict[str, set[str]] = {}
    for each in trials:
        for key, value in each.config.items():
            told.setdefault(key, set()).add(repr(value))
    own = f"ffn.{trial.config.get('ffn')}."
    same_kind = [each for each in trials if each.config.get("ffn") == trial.config.get("ffn")]
    telling = [
        key
        for key in trial.config
        if key == "ffn"
        or (len(told[key]) > 1 and (not key.startswith("ffn.") or key.startswith(own)))
        or (key == "lr" and len(same_kind) < 2)
    ]
    words = keys_text({**trial.config, "variant": trial.variant}, telling)
    if LR_TUNING in trial.provenance:
        return plain(f"{words} (tunes its learning rate)")
    return plain(f"{words} seed={trial.seed}" if "seed" in telling else words)


def rest(watched: Watched) -> Rest | None:
    """What is left to train, from how long the search's own trials took; none where nothing is left or nothing is known.

    A trial that has not begun takes what the ended ones took on average, stopped ones among them. One that runs has as
    many epochs before it as those that ended had after its present one. Where fewer than `LEAST` have ended, every trial
    is taken to its full length, which is an upper bound where a scheduler stops some.
    """
    settings, ended, running = watched.search.settings, watched.ended, watched.running
    lived = [trial for trial in watched.trials if trial.epochs and trial.wall_seconds]
    new = watched.planned - len(ended) - len(running)
    if not watched.is_running or not lived or new + len(running) <= 0:
        return None
    slots = max(len(running), min(int(settings.get("concurrency") or 1), new + len(running)))
    an_epoch = sum(trial.wall_seconds or 0.0 for trial in lived) / sum(trial.epochs for trial in lived)
    took = [trial.wall_seconds or 0.0 for trial in ended if trial.epochs]
    if len(took) < LEAST:
        full = int(settings.get("epochs") or 0)
        left = sum(max(0, full - trial.epochs) for trial in running) + new * full
        stops = settings.get("scheduler", "none") != "none"
        seconds = an_epoch * left / slots
        return Rest(seconds=seconds, low=0.0 if stops else seconds, high=seconds, ended=len(took), slots=slots,
                    at_most=stops)  # fmt: skip
    mean, spread = fmean(took), variance(took)
    expected = new * mean + sum(_epochs_before(trial, ended) * _an_epoch(trial, an_epoch) for trial in running)
    open_trials = new + len(running)
    # their own scatter, and that of the mean which the ended ones gave
    deviation = math.sqrt(spread * open_trials + spread * open_trials**2 / len(took))
    return Rest(
        seconds=expected / slots,
        low=max(0.0, expected - 2 * deviation) / slots,
        high=(expected + 2 * deviation) / slots,
        ended=len(took),
        slots=slots,
        at_most=False,
    )


def _epochs_before(trial: TrialRow, ended: Sequence[TrialRow]) -> float:
    """Epochs that a running trial still has before it: the mean of those that got further than it is now."""
    further = [each.epochs - trial.epochs for each in ended if each.epochs > trial.epochs]
    return fmean(further) if further else max(0.0, float(_horizon(trial.config) - trial.epochs))


def _an_epoch(trial: TrialRow, otherwise: float) -> float:
    return trial.wall_seconds / trial.epochs if trial.epochs and trial.wall_seconds else otherwise


def _horizon(config: Mapping[str, Any]) -> int:
    return int(config.get("epochs") or 0)
