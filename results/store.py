"""The store: searches, trials, epochs and decisions, committed before anything is acted on.

Under a search one process, the driver, writes; any number may read meanwhile, and ask the driver for something (`requests`).
Where the database is gone for a while, every method waits for it (`results.patience`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from results import schema
from results.cli import DEFAULT_STORAGE
from results.errors import InputError
from results.ids import Claim, any_number, runs_folder, unknown, variant_hash
from results.moved import with_folder_here
from results.opening import open_engine, parsed_url, shown
from results.patience import patient, patiently, to_stderr
from results.rows import UNKNOWN_SEED, DecisionRow, EpochRow, RequestRow, SearchRow, TrialRow
from results.statements import aware, finite, is_there, landed, last_metrics
from results.tuned import COMPLETE, LR_TUNING

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
        self._runs = runs_folder(url)
        self.place = shown(parsed_url(url))
        self.say: Callable[[str], None] = to_stderr
        """Gets a sentence when a method begins to wait for the database, and when it is back."""

    @classmethod
    def open(cls, url: str = DEFAULT_STORAGE, *, create: bool = True, to_read: bool = False) -> Self:
        """Raises InputError with one sentence where the database cannot be used (see `results.opening`)."""
        return cls(open_engine(url, create=create, to_read=to_read), url)

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
        claim: Claim = any_number,
    ) -> str:
        """A new search under the experiment's next number that `claim` gets; safe when two processes ask at once."""
        values = {
            "question": question,
            "settings": settings,
            "provenance": provenance,
            "notes": notes,
            "tags": list(tags),
            "heartbeat": datetime.now(UTC),
        }
        return self._insert_search(experiment, values, claim, lambda connection, search_id: None)

    def import_search(
        self,
        experiment: str,
        question: str,
        settings: dict[str, Any],
        provenance: dict[str, Any],
        notes: str,
        tags: Sequence[str],
        trials: Sequence[Mapping[str, Any]] | Callable[[str], Sequence[Mapping[str, Any]]],
        claim: Claim = any_number,
    ) -> str:
        """An ended search with finished trials from elsewhere, all or nothing.

        Args:
            trials: columns of each, or a function that gives them for the new id; `config` is needed, and a `seed` in it
                where it is known. Under `curve` its EpochRows and under `decided` its DecisionRows may follow, whose
                `trial_id` becomes the new one.
        """
        now = datetime.now(UTC)

        def add(connection: Connection, search_id: str) -> None:
            given = trials(search_id) if callable(trials) else trials
            rows = [
                {
                    "id": f"{search_id}.{number}",
                    "search_id": search_id,
                    "number": number,
                    "variant": variant_hash(columns["config"]),
                    "seed": columns["config"].get("seed", UNKNOWN_SEED),
                    "status": "finished",
                    "created": now,
                    **{name: value for name, value in columns.items() if name not in ("curve", "decided")},
                }
                for number, columns in enumerate(given, start=1)
            ]
            if rows:
                connection.execute(schema.trials.insert(), rows)
            for row, columns in zip(rows, given, strict=True):
                epochs = [{"trial_id": row["id"], **asdict(finite(epoch))} for epoch in columns.get("curve", ())]
                decided = [
                    {**asdict(each), "trial_id": row["id"], "created": each.created or now}
                    for each in columns.get("decided", ())
                ]
                for table, found in ((schema.epochs, epochs), (schema.decisions, decided)):
                    if found:
                        connection.execute(table.insert(), found)

        values = {
            "question": question,
            "settings": settings,
            "provenance": provenance,
            "notes": notes,
            "tags": list(tags),
        }
        return self._insert_search(experiment, {**values, "status": "ended"}, claim, add)

    def _insert_search(
        self,
        experiment: str,
        values: dict[str, Any],
        claim: Claim,
        before_commit: Callable[[Connection, str], None],
    ) -> str:
        columns = {"created": datetime.now(UTC), "status": "running", **values}
        search_id = ""

        def insert(again: bool) -> str:
            nonlocal search_id
            with self._engine.begin() as connection:
                if again and is_there(connection, schema.searches, id=search_id, created=columns["created"]):
                    return search_id
                taken = connection.scalars(
                    sa.select(schema.searches.c.id).where(schema.searches.c.experiment == experiment)
                ).all()
                numbers = [int(name.rpartition("-")[2]) for name in taken]
                free = (f"{experiment}-{number}" for number in count(max(numbers, default=0) + 1))
                search_id = next(name for name in free if claim(name))
                connection.execute(schema.searches.insert().values(id=search_id, experiment=experiment, **columns))
                before_commit(connection, search_id)
            return search_id

        while True:
            try:
                return patiently(insert, self.place, self.say)
            except IntegrityError:
                if not self._has(schema.searches.c.id == search_id):
                    raise  # another rule was broken: trying again would never end

    @patient
    def search(self, search_id: str) -> SearchRow:
        """Raises InputError for an unknown id, with the nearest one."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.searches).where(schema.searches.c.id == search_id)).one_or_none()
        if row is None:
            raise InputError(unknown("search", search_id, [known.id for known in self.searches()]))
        return SearchRow(**aware(row._mapping))

    @patient
    def searches(self) -> list[SearchRow]:
        """All searches, oldest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(schema.searches).order_by(schema.searches.c.created)).all()
        return [SearchRow(**aware(row._mapping)) for row in rows]

    def latest_search(self) -> str | None:
        searches = self.searches()
        return searches[-1].id if searches else None

    @patient
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
        latency_seconds: float | None = None,
        provenance: dict[str, Any] | None = None,
        status: str = "pending",
    ) -> str:
        trial_id = f"{search_id}.{number}"
        columns = {
            "id": trial_id,
            "search_id": search_id,
            "number": number,
            "variant": variant_hash(config),
            "seed": int(config.get("seed", 0)),
            "config": config,
            "status": status,
            "epochs": 0,
            "parameters": parameters,
            "neurons_used": neurons_used,
            "macs": macs,
            "macs_conditional": macs_conditional,
            "latency_seconds": latency_seconds,
            "created": datetime.now(UTC),
            "provenance": provenance or {},
        }

        def insert(again: bool) -> None:
            with self._engine.begin() as connection:
                if not (again and is_there(connection, schema.trials, id=trial_id, created=columns["created"])):
                    connection.execute(schema.trials.insert().values(**columns))

        patiently(insert, self.place, self.say)
        return trial_id

    @patient
    def trial(self, trial_id: str) -> TrialRow:
        """Raises InputError for an unknown id, with the nearest one, and for a search's, with its best trial."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(schema.trials).where(schema.trials.c.id == trial_id)).one_or_none()
            if row is None:
                if is_there(connection, schema.searches, id=trial_id):
                    raise InputError(_is_a_search(connection, trial_id))
                known = connection.scalars(sa.select(schema.trials.c.id).order_by(schema.trials.c.created)).all()
                raise InputError(unknown("trial", trial_id, known))
        return self._trial_row(row._mapping)

    @patient
    def trials(self, search_id: str) -> list[TrialRow]:
        """The trials of a search, in the order of their numbers."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(schema.trials).where(schema.trials.c.search_id == search_id).order_by(schema.trials.c.number)
            ).all()
        return [self._trial_row(row._mapping) for row in rows]

    def _trial_row(self, mapping: Any) -> TrialRow:
        row = aware(mapping)
        return TrialRow(**{**row, "provenance": with_folder_here(row["provenance"], self._runs)})

    @patient
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
        said = None if epoch is None else finite(epoch)
        same = None if epoch is None else sa.and_(table.c.trial_id == trial_id, table.c.epoch == epoch.epoch)
        decided = None if decision is None else {**asdict(decision), "created": decision.created or datetime.now(UTC)}

        def commit(again: bool) -> bool:
            with self._engine.begin() as connection:
                if again and landed(connection, trial_id, said, decided):
                    return True
                written = columns
                if said is not None and same is not None:
                    if connection.scalar(sa.select(table.c.epoch).where(same)) is not None:
                        return False
                    connection.execute(table.insert().values(trial_id=trial_id, **asdict(said)))
                    written = {**last_metrics(connection, trial_id, said), **columns}
                if decided is not None:
                    connection.execute(schema.decisions.insert().values(**decided))
                _update_trial(connection, trial_id, written)
            return True

        try:
            return patiently(commit, self.place, self.say)
        except IntegrityError:
            if same is not None and self._has(same):
                return False  # another process wrote this epoch between our look and our insert
            raise

    @patient
    def _has(self, condition: sa.ColumnElement[bool]) -> bool:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.literal(1)).where(condition).limit(1)) is not None

    @patient
    def epochs(self, trial_id: str) -> list[EpochRow]:
        """The epochs of a trial, in order."""
        table = schema.epochs
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.select(table).where(table.c.trial_id == trial_id).order_by(table.c.epoch)
            ).all()
        return [EpochRow(**{key: value for key, value in row._mapping.items() if key != "trial_id"}) for row in rows]

    @patient
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

    @patient
    def last_epoch(self, trial_id: str) -> int:
        """The last epoch that the store has of a trial; 0 for none."""
        table = schema.epochs
        with self._engine.connect() as connection:
            last = connection.scalar(sa.select(sa.func.max(table.c.epoch)).where(table.c.trial_id == trial_id))
        return int(last or 0)

    @patient
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
            DecisionRow(**{key: value for key, value in aware(row._mapping).items() if key != "id"}) for row in rows
        ]

    # requests

    @patient
    def add_request(self, search_id: str, trial_id: str | None, request: str) -> None:
        """Ask the driver of a search for something; of the whole search where no trial is named."""
        values = {"search_id": search_id, "trial_id": trial_id, "request": request, "created": datetime.now(UTC)}
        with self._engine.begin() as connection:
            connection.execute(schema.requests.insert().values(**values))

    @patient
    def requests(self, search_id: str, *, still_open: bool = False) -> list[RequestRow]:
        """What was asked of a search and its trials, oldest first; with `still_open` only what nobody has acted on."""
        table = schema.requests
        query = sa.select(table).where(table.c.search_id == search_id).order_by(table.c.id)
        if still_open:
            query = query.where(table.c.handled.is_(None))
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [RequestRow(**aware(row._mapping)) for row in rows]

    @patient
    def handle_request(self, number: int) -> None:
        """Note that a request was acted on, or has become pointless."""
        table = schema.requests
        with self._engine.begin() as connection:
            connection.execute(table.update().where(table.c.id == number).values(handled=datetime.now(UTC)))

    # measurements

    @patient
    def measurement(self, key: str) -> tuple[datetime, dict[str, Any]] | None:
        """When something was measured and what came out; none where the store does not know."""
        table = schema.measurements
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.key == key)).one_or_none()
        if row is None:
            return None
        columns = aware(row._mapping)
        return columns["created"], columns["values"]

    @patient
    def keep_measurement(self, key: str, values: dict[str, Any]) -> None:
        """Keep what was measured, over what was kept under this key before."""
        table = schema.measurements
        with self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.key == key))
            connection.execute(table.insert().values({"key": key, "created": datetime.now(UTC), "values": values}))


def _is_a_search(connection: Connection, name: str) -> str:
    """The sentence that refuses a search where a trial was to be named, with the trial that is most likely meant."""
    table = schema.trials
    own = sa.select(table.c.id, table.c.provenance).where(table.c.search_id == name)
    ended = own.where(table.c.status.in_(COMPLETE), table.c.val_acc.is_not(None))
    ranked = connection.execute(ended.order_by(table.c.val_acc.desc(), table.c.number))
    best = next((row.id for row in ranked if LR_TUNING not in row.provenance), None)
    first = best or connection.scalar(own.order_by(table.c.number).limit(1))
    if first is None:
        return f"{name!r} is a search, and has no trial yet."
    which = "its best" if best else "its first"
    return f"{name!r} is a search; name a trial of it, such as {first} ({which})."


def _update_trial(connection: Connection, trial_id: str, columns: dict[str, Any]) -> None:
    table = schema.trials
    if columns.get("status") not in (None, *TRIAL_STATUSES):
        raise ValueError(f"A trial's status must be one of {sorted(TRIAL_STATUSES)}, but got {columns['status']!r}.")
    if "provenance" in columns:
        present = connection.scalar(sa.select(table.c.provenance).where(table.c.id == trial_id)) or {}
        columns = {**columns, "provenance": {**present, **columns["provenance"]}}
    if columns and not connection.execute(table.update().where(table.c.id == trial_id).values(**columns)).rowcount:
        raise InputError(f"Unknown trial {trial_id!r}.")
