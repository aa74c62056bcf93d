"""The store: searches, trials, epochs and decisions, committed before anything is acted on.

Under a search one process, the driver, writes; any number may read meanwhile, and ask the driver for something (`requests`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from results import schema
from results.cli import DEFAULT_STORAGE
from results.errors import InputError
from results.ids import unknown, variant_hash
from results.opening import open_engine
from results.rows import UNKNOWN_SEED, DecisionRow, EpochRow, RequestRow, SearchRow, TrialRow

TRIAL_STATUSES = frozenset(
    ["pending", "running", "paused", "finished", "plateau", "stopped", "diverged", "failed", "interrupted"]
)
ENDED = frozenset({"finished", "plateau", "stopped", "diverged", "failed"})
"""Statuses after which a trial is never trained again."""
STOPPED_AS_ASKED = "asked"
"""The cause of a trial that a person stopped."""


class Store:
    """One database of Arbor. Open it with `Store.open`; use it as a context, or close it."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine, self.url = engine, url

    @classmethod
    def open(cls, url: str = DEFAULT_STORAGE, *, create: bool = True) -> Self:
        """Raises InputError with one sentence where the database cannot be used (see `results.opening`)."""
        return cls(open_engine(url, create=create), url)

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # searches

    def create_search(
        self,
        experiment: str,
        question: str,
        settings: dict[str, Any],
        provenance: dict[str, Any],
        notes: str = "",
        tags: Sequence[str] = (),
        before_commit: Callable[[str], None] = lambda search_id: None,
    ) -> str:
        """A new search under the experiment's next number; safe when two processes ask at once.

        `before_commit` is called with the id; where it raises, there is no search.
        """
        values = {
            "question": question,
            "settings": settings,
            "provenance": provenance,
            "notes": notes,
            "tags": list(tags),
            "heartbeat": datetime.now(UTC),
        }
        return self._insert_search(experiment, values, lambda connection, search_id: before_commit(search_id))

    def import_search(
        self,
        experiment: str,
        question: str,
        settings: dict[str, Any],
        provenance: dict[str, Any],
        notes: str,
        tags: Sequence[str],
        trials: Sequence[Mapping[str, Any]],
    ) -> str:
        """An ended search with finished trials from elsewhere, all or nothing.

        Args:
            trials: columns of each; `config` is needed, and a `seed` in it where it is known.
        """
        now = datetime.now(UTC)

        def add(connection: Connection, search_id: str) -> None:
            rows = [
                {
                    "id": f"{search_id}.{number}",
                    "search_id": search_id,
                    "number": number,
                    "variant": variant_hash(columns["config"]),
                    "seed": columns["config"].get("seed", UNKNOWN_SEED),
                    "status": "finished",
                    "created": now,
                    **columns,
                }
                for number, columns in enumerate(trials, start=1)
            ]
            if rows:
                connection.execute(schema.trials.insert(), rows)

        values = {
            "question": question,
            "settings": settings,
            "provenance": provenance,
            "notes": notes,
            "tags": list(tags),
        }
        return self._insert_search(experiment, {**values, "status": "ended"}, add)

    def _insert_search(
        self, experiment: str, values: dict[str, Any], before_commit: Callable[[Connection, str], None]
    ) -> str:
        search_id = ""
        while True:
            try:
                with self._engine.begin() as connection:
                    taken = connection.scalars(
                        sa.select(schema.searches.c.id).where(schema.searches.c.experiment == experiment)
                    ).all()
                    numbers = [int(name.rpartition("-")[2]) for name in taken]
                    search_id = f"{experiment}-{max(numbers, default=0) + 1}"
                    columns = {"created": datetime.now(UTC), "status": "running", **values}
                    connection.execute(schema.searches.insert().values(id=search_id, experiment=experiment, **columns))
                    before_commit(connection, search_id)
                return search_id
            except IntegrityError:
                if not self._has(schema.searches.c.id == search_id):
                    raise  # another rule was broken: trying again would never end

    def search(self, search_id: str) -> SearchRow:
        """Raises InputError for an unknown id, with the nearest one."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.searches).where(schema.searches.c.id == search_id)).one_or_none()
        if row is None:
            raise InputError(unknown("search", search_id, [known.id for known in self.searches()]))
        return SearchRow(**_aware(row._mapping))

    def searches(self) -> list[SearchRow]:
        """All searches, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.searches).order_by(schema.searches.c.created)).all()
        return [SearchRow(**_aware(row._mapping)) for row in rows]

    def latest_search(self) -> str | None:
        searches = self.searches()
        return searches[-1].id if searches else None

    def update_search(self, search_id: str, **columns: Any) -> None:
        """Raises InputError for an unknown id."""
        with self._engine.begin() as connection:
            done = connection.execute(
                schema.searches.update().where(schema.searches.c.id == search_id).values(**columns)
            )
        if not done.rowcount:
            raise InputError(f"Unknown search {search_id!r}.")

    def beat(self, search_id: str) -> None:
        """Note that the driver of a search lives; nothing where the search does not run any more."""
        table = schema.searches
        own = sa.and_(table.c.id == search_id, table.c.status == "running")
        with self._engine.begin() as connection:
            connection.execute(table.update().where(own).values(heartbeat=datetime.now(UTC)))

    def claim_search(self, search_id: str, heartbeat: datetime | None, **columns: Any) -> bool:
        """Set columns and a new heartbeat, unless the heartbeat is another one by now; whether it was done.

        Of two processes that both found a search without a living driver, one gets it.
        """
        table = schema.searches
        same = table.c.heartbeat.is_(None) if heartbeat is None else table.c.heartbeat == heartbeat
        with self._engine.begin() as connection:
            done = connection.execute(
                table.update().where(table.c.id == search_id, same).values(**columns, heartbeat=datetime.now(UTC))
            )
        return bool(done.rowcount)

    # trials

    def add_trial(
        self,
        search_id: str,
        number: int,
        config: dict[str, Any],
        *,
        parameters: int | None,
        neurons_used: int | None,
        macs: int | None,
        macs_conditional: int | None,
        provenance: dict[str, Any] | None = None,
        status: str = "pending",
    ) -> str:
        trial_id = f"{search_id}.{number}"
        with self._engine.begin() as connection:
            connection.execute(
                schema.trials.insert().values(
                    id=trial_id,
                    search_id=search_id,
                    number=number,
                    variant=variant_hash(config),
                    seed=int(config.get("seed", 0)),
                    config=config,
                    status=status,
                    epochs=0,
                    parameters=parameters,
                    neurons_used=neurons_used,
                    macs=macs,
                    macs_conditional=macs_conditional,
                    created=datetime.now(UTC),
                    provenance=provenance or {},
                )
            )
        return trial_id

    def trial(self, trial_id: str) -> TrialRow:
        """Raises InputError for an unknown id, with the nearest one."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.trials).where(schema.trials.c.id == trial_id)).one_or_none()
            if row is None:
                known = connection.scalars(sa.select(schema.trials.c.id).order_by(schema.trials.c.created)).all()
                raise InputError(unknown("trial", trial_id, known))
        return TrialRow(**_aware(row._mapping))

    def trials(self, search_id: str) -> list[TrialRow]:
        """The trials of a search, in the order of their numbers."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(schema.trials).where(schema.trials.c.search_id == search_id).order_by(schema.trials.c.number)
            ).all()
        return [TrialRow(**_aware(row._mapping)) for row in rows]

    def update_trial(self, trial_id: str, **columns: Any) -> None:
        """Set columns of a trial; `provenance` is merged into what is there. Raises InputError for an unknown id."""
        with self._engine.begin() as connection:
            _update_trial(connection, trial_id, columns)

    # epochs and decisions

    def commit_report(
        self, trial_id: str, epoch: EpochRow | None, decision: DecisionRow | None, **columns: Any
    ) -> bool:
        """One epoch, the decision about it and the trial's new columns, all or nothing.

        Returns:
            Whether it was written: False, and nothing changed, where the store has this epoch of the trial already.
        """
        table = schema.epochs
        same = None if epoch is None else sa.and_(table.c.trial_id == trial_id, table.c.epoch == epoch.epoch)
        try:
            with self._engine.begin() as connection:
                if epoch is not None and same is not None:
                    if connection.scalar(sa.select(table.c.epoch).where(same)) is not None:
                        return False
                    finite = _finite(epoch)
                    connection.execute(table.insert().values(trial_id=trial_id, **asdict(finite)))
                    columns = {**_last_metrics(connection, trial_id, finite), **columns}
                if decision is not None:
                    values = {**asdict(decision), "created": decision.created or datetime.now(UTC)}
                    connection.execute(schema.decisions.insert().values(**values))
                _update_trial(connection, trial_id, columns)
        except IntegrityError:
            if same is not None and self._has(same):
                return False  # another process wrote this epoch between our look and our insert
            raise
        return True

    def _has(self, condition: sa.ColumnElement[bool]) -> bool:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.literal(1)).where(condition).limit(1)) is not None

    def epochs(self, trial_id: str) -> list[EpochRow]:
        """The epochs of a trial, in order."""
        table = schema.epochs
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(table).where(table.c.trial_id == trial_id).order_by(table.c.epoch)
            ).all()
        return [EpochRow(**{key: value for key, value in row._mapping.items() if key != "trial_id"}) for row in rows]

    def curves(self, search_id: str) -> dict[str, list[float | None]]:
        """Validation accuracy at every epoch of every trial of a search that has any, by the trials' numbers."""
        table = schema.epochs
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(table.c.trial_id, table.c.val_acc)
                .join(schema.trials, schema.trials.c.id == table.c.trial_id)
                .where(schema.trials.c.search_id == search_id)
                .order_by(schema.trials.c.number, table.c.epoch)
            ).all()
        curves: dict[str, list[float | None]] = {}
        for trial_id, value in rows:
            curves.setdefault(trial_id, []).append(value)
        return curves

    def last_epoch(self, trial_id: str) -> int:
        """The last epoch that the store has of a trial; 0 for none."""
        table = schema.epochs
        with self._engine.connect() as connection:
            last = connection.scalar(sa.select(sa.func.max(table.c.epoch)).where(table.c.trial_id == trial_id))
        return int(last or 0)

    def decisions(self, search_id: str) -> list[DecisionRow]:
        """The decisions of a search, in the order in which they were committed."""
        table = schema.decisions
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(table)
                .join(schema.trials, schema.trials.c.id == table.c.trial_id)
                .where(schema.trials.c.search_id == search_id)
                .order_by(table.c.id)
            ).all()
        return [
            DecisionRow(**{key: value for key, value in _aware(row._mapping).items() if key != "id"}) for row in rows
        ]

    # requests

    def add_request(self, search_id: str, trial_id: str | None, request: str) -> None:
        """Ask the driver of a search for something; of the whole search where no trial is named."""
        values = {"search_id": search_id, "trial_id": trial_id, "request": request, "created": datetime.now(UTC)}
        with self._engine.begin() as connection:
            connection.execute(schema.requests.insert().values(**values))

    def requests(self, search_id: str, *, still_open: bool = False) -> list[RequestRow]:
        """What was asked of a search and its trials, oldest first; with `still_open` only what nobody has acted on."""
        table = schema.requests
        query = sa.select(table).where(table.c.search_id == search_id).order_by(table.c.id)
        if still_open:
            query = query.where(table.c.handled.is_(None))
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [RequestRow(**_aware(row._mapping)) for row in rows]

    def handle_request(self, number: int) -> None:
        """Note that a request was acted on, or has become pointless."""
        table = schema.requests
        with self._engine.begin() as connection:
            connection.execute(table.update().where(table.c.id == number).values(handled=datetime.now(UTC)))

    # measurements

    def measurement(self, key: str) -> tuple[datetime, dict[str, Any]] | None:
        """When something was measured and what came out; none where the store does not know."""
        table = schema.measurements
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.key == key)).one_or_none()
        if row is None:
            return None
        columns = _aware(row._mapping)
        return columns["created"], columns["values"]

    def keep_measurement(self, key: str, values: dict[str, Any]) -> None:
        """Keep what was measured, over what was kept under this key before."""
        table = schema.measurements
        with self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.key == key))
            connection.execute(table.insert().values({"key": key, "created": datetime.now(UTC), "values": values}))


def _last_metrics(connection: Connection, trial_id: str, epoch: EpochRow) -> dict[str, Any]:
    """The trial's own columns after this epoch: its metrics, and the best epoch so far (the first, where equal)."""
    table = schema.trials
    best = connection.scalar(sa.select(table.c.best_val_acc).where(table.c.id == trial_id))
    columns: dict[str, Any] = {
        "epochs": epoch.epoch,
        "train_loss": epoch.train_loss,
        "val_loss": epoch.val_loss,
        "val_acc": epoch.val_acc,
    }
    if epoch.val_acc is not None and (best is None or epoch.val_acc > best):
        columns.update(best_val_acc=epoch.val_acc, best_epoch=epoch.epoch)
    return columns


def _update_trial(connection: Connection, trial_id: str, columns: dict[str, Any]) -> None:
    table = schema.trials
    if columns.get("status") not in (None, *TRIAL_STATUSES):
        raise ValueError(f"A trial's status must be one of {sorted(TRIAL_STATUSES)}, but got {columns['status']!r}.")
    if "provenance" in columns:
        present = connection.scalar(sa.select(table.c.provenance).where(table.c.id == trial_id)) or {}
        columns = {**columns, "provenance": {**present, **columns["provenance"]}}
    if columns and not connection.execute(table.update().where(table.c.id == trial_id).values(**columns)).rowcount:
        raise InputError(f"Unknown trial {trial_id!r}.")


def _finite(epoch: EpochRow) -> EpochRow:
    """NaN and infinity become NULL, and `extra` says what they were: databases differ in what they make of them."""
    values = asdict(epoch)
    lost = {
        name: repr(values[name])
        for name in ("train_loss", "val_loss", "val_acc")
        if values[name] is not None and not math.isfinite(values[name])
    }
    if not lost:
        return epoch
    values.update(dict.fromkeys(lost, None), extra={**epoch.extra, "not_finite": lost})
    return EpochRow(**values)


def _aware(mapping: Any) -> dict[str, Any]:
    """SQLite forgets time zones: what we wrote in UTC comes back as UTC."""
    return {
        key: value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
        for key, value in mapping.items()
    }
