"""The store as tidy pandas frames, one row a search, a trial, an epoch, a decision.

Accuracies are fractions, losses nats, times seconds (`created`, `started`, `ended`: UTC).

- searches: id, experiment, question, created, status, settings, provenance, notes, tags, heartbeat.
- trials: id, search_id, number, variant, seed, status, cause, `epochs_run` (recorded so far), val_acc, val_loss, train_loss
  (of the last epoch), best_val_acc, best_epoch, test_acc, test_loss, parameters, neurons_used, macs, macs_conditional,
  latency_seconds, wall_seconds, gpu_seconds, created, started, ended, provenance, best_test_acc (of an imported trial:
  the accuracy of the epoch that was best on the test images), and every key of the trial's dictionary under its own name
  (`lr`, `ffn.fff.depth`, ...; `epochs` is the planned horizon). A key that a trial does not have is missing (NaN).
- epochs: trial_id, epoch (from 1), train_loss, val_loss, val_acc, lr, train_seconds, val_seconds, images_per_second, extra.
- decisions: trial_id, epoch, scheduler, rung, value, cutoff, decision, created; in the order of their commits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
from sqlalchemy import Float, Integer

from results import schema
from results.archive import is_archived
from results.cli import DEFAULT_STORAGE
from results.errors import InputError
from results.ids import unknown
from results.rows import UNKNOWN_SEED, DecisionRow, EpochRow, SearchRow, TrialRow
from results.store import Store
from results.tuned import is_tuning

# Missing in every row, these would otherwise come as objects that know no mean.
NUMBERS = frozenset(
    column.name
    for table in (schema.trials, schema.epochs, schema.decisions)
    for column in table.columns
    if isinstance(column.type, (Float, Integer)) and column.nullable
)
BEST_TEST_ACC = "best_test_acc"
"""A column that only imported trials have a value in."""
TRIAL_COLUMNS = (
    *("epochs_run" if f.name == "epochs" else f.name for f in fields(TrialRow) if f.name != "config"),
    BEST_TEST_ACC,
)
"""Columns of the trials frame that are not keys of the trial's dictionary."""


@dataclass(frozen=True, slots=True)
class Frames:
    """All of a store."""

    searches: pd.DataFrame
    trials: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame

    def search(self, search_id: str) -> dict[str, Any]:
        """The row of a search. Raises InputError for an unknown id, with the nearest one."""
        rows = self.searches[self.searches["id"] == search_id]
        if rows.empty:
            raise InputError(unknown("search", search_id, list(self.searches["id"])))
        return {str(key): value for key, value in rows.iloc[0].to_dict().items()}

    @property
    def archived(self) -> list[str]:
        """Ids of the searches that are hidden from lists and tables."""
        return [
            str(name)
            for name, tags in zip(self.searches["id"], self.searches["tags"], strict=True)
            if is_archived(tags)
        ]

    def latest(self) -> str:
        """The latest search that is not archived. Raises InputError where there is none."""
        hidden = self.archived
        seen = [str(name) for name in self.searches["id"] if name not in hidden]
        if not seen and hidden:
            raise InputError(f"Every search is archived; name one, such as {hidden[-1]}.")
        if not seen:
            raise InputError("There is no search yet; run one with: python -m search.run")
        return seen[-1]

    def trials_of(self, *search_ids: str, tuning: bool = False) -> pd.DataFrame:
        """The trials of one search or of several that count: the trials' own columns, and the keys that any of them has.

        Those that tuned a learning rate, which took their time but measure no variant, are among them if `tuning` is set.
        """
        trials = self.trials[self.trials["search_id"].isin(search_ids) & (tuning | ~is_tuning(self.trials))]
        absent = [name for name in trials.columns if name not in TRIAL_COLUMNS and trials[name].isna().all()]
        return trials.drop(columns=absent) if len(trials) else trials


def load(storage: str = DEFAULT_STORAGE) -> Frames:
    """Read a store into frames.

    Raises:
        InputError: there is no such store, or it cannot be opened.
    """
    with Store.open(storage, create=False, to_read=True) as store:
        searches = store.searches()
        trials = [trial for search in searches for trial in store.trials(search.id)]
        epochs = [(trial.id, epoch) for trial in trials for epoch in store.epochs(trial.id)]
        decisions = [decision for search in searches for decision in store.decisions(search.id)]
    frame = _frame([_trial_values(row) for row in trials], list(TRIAL_COLUMNS))
    return Frames(
        searches=_frame([_values(row) for row in searches], [f.name for f in fields(SearchRow)]),
        trials=_without_unknown_seeds(frame.astype({BEST_TEST_ACC: "float64"})),
        epochs=_frame(
            [{"trial_id": trial_id, **_values(row)} for trial_id, row in epochs],
            ["trial_id", *(f.name for f in fields(EpochRow))],
        ),
        decisions=_frame([_values(row) for row in decisions], [f.name for f in fields(DecisionRow)]),
    )


def _without_unknown_seeds(trials: pd.DataFrame) -> pd.DataFrame:
    """Imported trials whose seed nobody knows have none; where all are known, seeds stay plain integers."""
    unknown_seeds = trials["seed"] == UNKNOWN_SEED
    return trials.assign(seed=trials["seed"].astype("Int64").mask(unknown_seeds)) if unknown_seeds.any() else trials


def _values(row: Any) -> dict[str, Any]:
    return {f.name: getattr(row, f.name) for f in fields(row)}


def _trial_values(row: TrialRow) -> dict[str, Any]:
    own = _values(row)
    config = own.pop("config")
    own["epochs_run"] = own.pop("epochs")
    own[BEST_TEST_ACC] = (row.provenance.get("imported") or {}).get(BEST_TEST_ACC)
    return {**{key: own[key] for key in TRIAL_COLUMNS}, **{key: config[key] for key in config if key not in own}}


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """A frame with those columns even where there is no row."""
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    empty = [name for name in NUMBERS.intersection(frame.columns) if frame[name].isna().all()]
    return frame.astype(dict.fromkeys(empty, "float64"))
