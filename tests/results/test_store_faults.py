"""The store when something goes wrong: a killed writer, two writers, files of others, ids that are not there."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError

from results.errors import InputError
from results.opening import masked, shown
from results.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

WRITER = """
import os, signal, sys
import sqlalchemy as sa
from results.rows import DecisionRow, EpochRow
from results.store import Store

url, name, last, kill_after = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store.open(url)

def write(number):
    epoch = EpochRow(epoch=number, train_loss=1.0, val_loss=1.0, val_acc=number / 1000, lr=1e-3,
                     train_seconds=1.0, val_seconds=0.1, images_per_second=10.0)
    decision = DecisionRow(trial_id=name, epoch=number, scheduler="asha", rung=number, value=0.5, cutoff=0.4,
                           decision="continue")
    return store.commit_report(name, epoch, decision, status="running")

done = sum(write(number) for number in range(1, last + 1))
if kill_after:
    statements = 0
    @sa.event.listens_for(store._engine, "after_cursor_execute")
    def count(connection, cursor, statement, *rest):
        global statements
        statements += 1
        if statements == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    write(last + 1)
print(done)
"""


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def writer(store, name, last, kill_after=0):
    arguments = [sys.executable, "-c", WRITER, store.url, name, str(last), str(kill_after)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ})


@pytest.mark.parametrize("statement", [2, 3, 4, 5])
def test_a_writer_killed_between_two_statements_of_a_report_leaves_none_of_it(store, statement):
    """After the epoch's insert (2), the look at the best epoch (3), the decision's insert (4), the trial's update (5)."""
    name = trial(store, search(store), [])
    run = writer(store, name, 3, kill_after=statement)
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGKILL
    with Store.open(store.url) as reopened:
        row = reopened.trial(name)
        assert (row.epochs, row.best_epoch, row.val_acc) == (3, 3, 0.003)
        assert [epoch.epoch for epoch in reopened.epochs(name)] == [1, 2, 3]
        assert [decision.epoch for decision in reopened.decisions(row.search_id)] == [1, 2, 3]


def test_two_writers_of_the_same_epochs_write_each_once(store):
    """An orphan of a dead driver may report beside the new one: the later is told False, and fails with nothing else."""
    name = trial(store, search(store), [])
    runs = [writer(store, name, 40) for _ in range(3)]
    written = [int(run.communicate(timeout=60)[0]) for run in runs]
    assert sum(written) == 40
    assert store.last_epoch(name) == len(store.epochs(name)) == len(store.decisions("toy-1")) == 40


def test_what_is_not_there_is_not_updated_in_silence(store):
    with pytest.raises(InputError, match="Unknown search 'toy-7'"):
        store.update_search("toy-7", status="ended")
    with pytest.raises(InputError, match=r"Unknown trial 'toy-7\.1'"):
        store.update_trial("toy-7.1", status="running")
    with pytest.raises(InputError, match=r"Unknown trial 'toy-7\.1'"):
        store.commit_report("toy-7.1", None, None, status="running")


def test_a_search_that_breaks_a_rule_is_an_error_and_not_tried_for_ever(store):
    with pytest.raises(IntegrityError):
        store.create_search("toy", None, {}, {})


def test_a_database_of_another_program_keeps_every_byte(tmp_path):
    path = tmp_path / "arbor.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match="belongs to another program"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["arbor.db"]


def test_our_own_database_is_in_write_ahead_mode(store, tmp_path):
    assert sqlite3.connect(tmp_path / "arbor.db").execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hidden@host:port/db",
        "me:hidden@host",
        "nosuch://me:hidden@host/db",
        "postgresql://me:hidden@",
        "nosuch://host/db?user=me&password=hidden",
        "postgresql://host:port/db?sslmode=require&passfile=/hidden&x=a@b",
    ],
)
def test_a_refused_storage_does_not_print_its_password(url):
    with pytest.raises(InputError) as caught:
        Store.open(url)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["password", "passfile", "sslpassword", "sslkey", "pass%77ord"])
def test_a_secret_among_the_parameters_of_a_url_is_hidden_and_the_rest_stays_readable(name):
    url = f"postgresql+psycopg://me@host/db?sslmode=require&{name}=/hidden%40a&application_name=arbor"
    assert masked(f"--storage={url}") == f"--storage={url.replace('/hidden%40a', '***')}"
    assert shown(make_url(url)).split("?")[0] == "postgresql+psycopg://me@host/db"
    assert set(shown(make_url(url)).split("?")[1].split("&")) == {
        "sslmode=require", f"{name.replace('%77', 'w')}=***", "application_name=arbor",
    }  # fmt: skip
    for other in (url.replace("%40", "@"), url.replace("me@", "me:hidden@"), f"{url}&{name}=hidden"):
        assert "hidden" not in masked(other)
        assert "hidden" not in shown(make_url(other))
