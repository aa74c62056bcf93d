"""Databases of another schema: an older one is brought up with all that it holds, a newer one refused, none misread."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from results import migrations, schema
from results.errors import InputError
from results.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from recorded import search, trial

OURS = schema.SCHEMA_VERSION
MEASUREMENTS = (
    'CREATE TABLE measurements (key VARCHAR(64) NOT NULL, created {time} NOT NULL, "values" JSON NOT NULL, '
    "PRIMARY KEY (key))"
)


def run(address, *statements):
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def version(address):
    engine = sa.create_engine(address)
    with engine.connect() as connection:
        found = connection.scalar(sa.select(schema.meta.c.value))
    engine.dispose()
    return found


@pytest.fixture
def old(address):
    """A database as the first Arbor made it, by that Arbor's own statements, with a search of one trial."""
    backend = sa.make_url(address).get_backend_name()
    text = (Path(__file__).parent / f"version_1.{backend}.sql").read_text()
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    run(
        address,
        *(part for part in plain.split(";\n") if part.strip()),
        "INSERT INTO searches VALUES ('toy-1', 'toy', 'Why?', '2026-01-02 03:04:05', 'ended', '{\"grid\": null}', '{}', "
        "'a note', '[\"t\"]', NULL)",
        "INSERT INTO trials (id, search_id, number, variant, seed, config, status, epochs, val_acc, created, provenance) "
        "VALUES ('toy-1.1', 'toy-1', 1, 'abc', 3, '{\"lr\": 0.1}', 'finished', 1, 0.5, '2026-01-02 03:04:06', '{}')",
        "INSERT INTO epochs (trial_id, epoch, val_acc, lr, extra) VALUES ('toy-1.1', 1, 0.5, 0.1, '{}')",
    )
    return address


def test_a_database_of_version_1_is_brought_up_and_keeps_what_it_holds(old, capsys):
    with Store.open(old, create=False) as store:
        assert (store.search("toy-1").notes, store.trial("toy-1.1").config) == ("a note", {"lr": 0.1})
        assert [row.val_acc for row in store.epochs("toy-1.1")] == [0.5]
        store.keep_measurement("k", {"a": 1})
        assert store.measurement("k")[1] == {"a": 1}
        trial(store, search(store), [0.7])
    said = capsys.readouterr()
    assert said.out == ""
    assert f"had schema version 1; it was brought to version {schema.SCHEMA_VERSION}." in said.err
    assert version(old) == str(schema.SCHEMA_VERSION)
    Store.open(old).close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("measured", [False, True])
def test_a_database_that_was_brought_up_has_the_tables_of_a_new_one(old, measured):
    """Also where an Arbor of version 1 had added its table of measurements, which is kept."""
    if measured:
        time = "DATETIME" if old.startswith("sqlite") else "TIMESTAMP WITH TIME ZONE"
        run(
            old,
            MEASUREMENTS.format(time=time),
            "INSERT INTO measurements VALUES ('k', '2026-01-02 03:04:05', '{\"a\": 1}')",
        )
    with Store.open(old) as store:
        with store._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, schema.metadata) == []
        assert (store.measurement("k") is not None) == measured


def test_there_is_a_step_to_every_version():
    assert list(migrations.STEPS) == list(range(2, schema.SCHEMA_VERSION + 1))


def test_processes_that_open_an_old_database_at_once_bring_it_up_once(old):
    script = (
        f"from results.store import Store\nwith Store.open({old!r}) as store: print(store.trial('toy-1.1').val_acc)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
        )
        for _ in range(2)
    ]  # fmt: skip
    told = [run.communicate(timeout=60) for run in runs]
    assert [out for out, _ in told] == ["0.5\n"] * 2, told
    assert sum("was brought to version" in error for _, error in told) == 1


def test_a_migration_that_fails_leaves_the_database_as_it_was(old, monkeypatch):
    """The steps before the one that failed are undone with it."""

    def second(operations):
        operations.add_column("searches", sa.Column("later", sa.Text))
        operations.add_column("searches", sa.Column("id", sa.Text))  # there already

    monkeypatch.setattr(migrations, "STEPS", {**migrations.STEPS, OURS + 1: second})
    monkeypatch.setattr(schema, "SCHEMA_VERSION", OURS + 1)
    with pytest.raises(InputError, match=r"failed \(.*duplicate|failed \(.*already exists") as caught:
        Store.open(old)
    assert "\n" not in str(caught.value)
    assert f"has schema version 1, and bringing it to version {OURS + 1}" in str(caught.value)
    inspector = sa.inspect(sa.create_engine(old))
    assert not inspector.has_table("measurements")
    assert "later" not in {column["name"] for column in inspector.get_columns("searches")}
    assert version(old) == "1"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ("99", f"has schema version 99, and this Arbor reads versions up to {OURS}"),
        ("0", f"must have a schema version from 1 to {OURS}, but says '0'"),
        ("two", f"must have a schema version from 1 to {OURS}, but says 'two'"),
    ],
)
def test_a_version_that_we_do_not_know_is_refused_and_left_alone(address, found, sentence):
    Store.open(address).close()
    run(address, f"UPDATE arbor_meta SET value = '{found}'")
    for create in (True, False):
        with pytest.raises(InputError, match=sentence) as caught:
            Store.open(address, create=create)
        assert "\n" not in str(caught.value)
    assert version(address) == found


def test_a_database_without_a_version_is_refused(url, tmp_path):
    Store.open(url).close()
    with sqlite3.connect(tmp_path / "arbor.db") as connection:
        connection.execute("DELETE FROM arbor_meta")
    with pytest.raises(InputError, match=f"must have a schema version from 1 to {OURS}, but says None"):
        Store.open(url)
