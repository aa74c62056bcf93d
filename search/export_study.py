"""`python -m search.export_study SEARCH FILE`: a search as an Optuna study, for optuna-dashboard and Optuna's own tools."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.rows import EpochRow, TrialRow
from results.store import Store
from results.tuned import passed_over, that_count

optuna.logging.set_verbosity(optuna.logging.WARNING)

LOG_RATIO = 10
"""A key whose greatest value is so many times its least is drawn on a logarithmic axis."""
STATES = {
    "finished": TrialState.COMPLETE,
    "plateau": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "pending": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.RUNNING,
    "interrupted": TrialState.RUNNING,
}
"""A trial's status as Optuna says it; any other is a failure."""
FACTS = (
    "variant", "seed", "status", "cause", "val_loss", "train_loss", "best_val_acc", "best_epoch", "test_acc", "parameters",
    "neurons_used", "macs", "wall_seconds", "gpu_seconds",
)  # fmt: skip
"""Columns of a trial that become user attributes."""

EXAMPLES = """\
Writes a search as an Optuna study into an SQLite file: parameters, values, and each epoch as an intermediate value. A file
may hold the studies of several searches. Open it with: optuna-dashboard sqlite:///study.db

Ranges are those of the values that were tried, for the space itself is code.

Examples:

  python -m search.export_study quickstart-1 study.db

  python -m search.export_study fff_vs_dense-2 study.db --storage sqlite:///runs/arbor.db
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str, typer.Argument(help="A search's id, such as quickstart-1.")],
    file: Annotated[Path, typer.Argument(help="The SQLite file of studies; made, or added to.")],
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    with Store.open(storage, create=False, to_read=True) as store:
        row = store.search(search)
        every = store.trials(search)
        trials = that_count(every)
        epochs = {trial.id: store.epochs(trial.id) for trial in trials}
    frozen = frozen_trials(trials, epochs)
    about = {"question": row.question, "status": row.status, "tags": row.tags, "notes": row.notes}
    write_study(file, search, frozen, {**about, "common": _shared(trials)}, metric=_metric(trials))
    tuning = len(every) - len(trials)
    left_out = f"; {passed_over(tuning)}" if tuning else ""
    console = Console()
    for line in (
        f"Wrote {len(frozen)} trials to {file} as the study {search}{left_out}.",
        f"Open it with: optuna-dashboard sqlite:///{file}",
    ):
        console.print(Text(line), soft_wrap=True)


def frozen_trials(trials: Sequence[TrialRow], epochs: Mapping[str, Sequence[EpochRow]]) -> list[FrozenTrial]:
    """The trials as Optuna has them, in the order of their numbers. Keys that no two trials differ in are left out."""
    varying = _varying(trials)
    distributions = {key: _distribution(values) for key, values in varying.items()}
    return [_frozen(trial, epochs.get(trial.id, ()), distributions) for trial in trials]


def write_study(
    file: Path, name: str, trials: Sequence[FrozenTrial], about: Mapping[str, Any], metric: str = "val_acc"
) -> None:
    """Put a study into the file, whole or not at all.

    Raises:
        InputError: no folder to write to, a file of another program, or one that has this study already.
    """
    if not file.parent.is_dir():
        raise InputError(f"The folder {file.parent} does not exist; make it, or name another file.")
    if file.is_dir():
        raise InputError(f"The study must go to a file, but {file} is a folder; name a file in it.")
    is_new = not file.exists()
    if not is_new:
        _require_studies(file)
    target = file.with_name(f".{file.name}.{os.getpid()}") if is_new else file
    try:
        _write(target, name, trials, about, metric)
        if is_new:
            os.replace(target, file)
    except optuna.exceptions.DuplicatedStudyError:
        raise InputError(
            f"The file {file} has a study {name!r} already; name another file, or delete that study."
        ) from None
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        said = str(getattr(error, "orig", None) or error).partition("\n")[0]  # not SQL, nor a link to its library
        raise InputError(f"The study cannot be written to {file} ({said}); name another file.") from error
    finally:
        if is_new:
            target.unlink(missing_ok=True)


def _write(target: Path, name: str, trials: Sequence[FrozenTrial], about: Mapping[str, Any], metric: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # metric names
        storage = optuna.storages.RDBStorage(f"sqlite:///{target}")
        try:
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
            try:
                study.set_metric_names([metric])
                for key, value in about.items():
                    study.set_user_attr(key, value)
                study.add_trials(trials)
            except BaseException:
                optuna.delete_study(study_name=name, storage=storage)
                raise
        finally:
            storage.engine.dispose()


def _require_studies(file: Path) -> None:
    """Raises InputError where the file is not one of Optuna's: ours, for one, must not get its tables."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        connection.close()
    except sqlite3.DatabaseError:
        raise InputError(f"The file {file} is not an SQLite database; name another one.") from None
    if "studies" not in tables or "arbor_meta" in tables:
        raise InputError(f"The file {file} holds no Optuna studies; name another one, or one that is not there yet.")


def _varying(trials: Sequence[TrialRow]) -> dict[str, list[Any]]:
    """Keys of the dictionaries in which trials differ, with the values that there are; the seed is no parameter."""
    keys = dict.fromkeys(key for trial in trials for key in trial.config if key != "seed")
    values = {key: [trial.config[key] for trial in trials if key in trial.config] for key in keys}
    # what only one kind has, and has alike in all its trials, says no more than the kind
    return {key: found for key, found in values.items() if len({repr(value) for value in found}) > 1}


def _shared(trials: Sequence[TrialRow]) -> dict[str, Any]:
    """What no two trials differ in."""
    left_out = {*_varying(trials), "seed"}
    return {key: value for trial in trials for key, value in trial.config.items() if key not in left_out}


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """Numbers from the least to the greatest that was tried; anything else as choices."""
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if not numeric:
        return CategoricalDistribution(tuple(dict.fromkeys(_choice(value) for value in values)))
    low, high = min(values), max(values)
    log = low > 0 and high / low >= LOG_RATIO
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _choice(value: Any) -> Any:
    """A value that Optuna keeps as a choice; a list becomes its text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _frozen(trial: TrialRow, epochs: Sequence[EpochRow], distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    value = _value(trial)
    state = STATES.get(trial.status, TrialState.FAIL)
    if state is TrialState.COMPLETE and value is None:  # an imported trial without its accuracy
        state = TrialState.FAIL
    own = {key: distribution for key, distribution in distributions.items() if key in trial.config}
    params = {
        key: _choice(trial.config[key]) if isinstance(distribution, CategoricalDistribution) else trial.config[key]
        for key, distribution in own.items()
    }
    facts = {name: getattr(trial, name) for name in FACTS}
    imported = trial.provenance.get("imported")
    if imported:
        facts.update(imported=imported.get("format"), best_test_acc=imported.get("best_test_acc"))
    frozen = optuna.trial.create_trial(
        state=state,
        value=value if state is TrialState.COMPLETE else None,
        params=params,
        distributions=own,
        user_attrs={"trial": trial.id, **{name: fact for name, fact in facts.items() if fact is not None}},
        intermediate_values={epoch.epoch: epoch.val_acc for epoch in epochs if epoch.val_acc is not None},
    )
    # as Optuna keeps them: without a zone, in local time
    started, ended = _local(trial.started or trial.created), _local(trial.ended)
    if state is not TrialState.WAITING:
        frozen.datetime_start = min(started, ended) if started and ended else started
    if state.is_finished():
        frozen.datetime_complete = ended or started
    return frozen


def _value(trial: TrialRow) -> float | None:
    imported = trial.provenance.get("imported")
    return imported.get("best_test_acc") if imported else trial.val_acc


def _metric(trials: Sequence[TrialRow]) -> str:
    return "best_test_acc" if any(trial.provenance.get("imported") for trial in trials) else "val_acc"


def _local(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone().replace(tzinfo=None)


if __name__ == "__main__":
    run(app, "python -m search.export_study")
