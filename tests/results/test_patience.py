"""A database that is gone for some seconds: writers wait, say so and lose nothing."""

import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from results import opening, patience
from results.cli import run
from results.errors import DatabaseGoneError, InputError
from results.rows import DecisionRow, EpochRow
from results.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from recorded import search, trial


def epoch(number, **changes):
    values = {
        "epoch": number, "train_loss": 1.0, "val_loss": 1.1, "val_acc": number / 1000, "lr": 1e-3,
        "train_seconds": 2.0, "val_seconds": 0.2, "images_per_second": 100.0,
    }  # fmt: skip
    return EpochRow(**{**values, **changes})


def decision(name, number):
    return DecisionRow(
        trial_id=name, epoch=number, scheduler="asha", rung=number, value=0.5, cutoff=None, decision="continue"
    )


def listening(address):
    """A store that keeps its sentences in a list."""
    store = Store.open(address)
    said: list[str] = []
    store.say = said.append
    return store, said


class Writer(threading.Thread):
    """A search in small: epochs of a trial with their decisions, one after another, until told to end."""

    def __init__(self, store, name):
        super().__init__()
        self.store, self.name_of_trial = store, name
        self.enough = threading.Event()
        self.answers: list[bool] = []

    def run(self):
        while not self.enough.is_set():
            number = len(self.answers) + 1
            self.answers.append(
                self.store.commit_report(
                    self.name_of_trial, epoch(number), decision(self.name_of_trial, number), status="running"
                )
            )


def until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "nothing moves"
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_server_that_stops_in_the_middle_of_a_search_is_waited_for(postgres_server, postgres_url, how):
    store, said = listening(postgres_url)
    name = trial(store, search(store), [])
    writer = Writer(store, name)
    writer.start()
    until(lambda: len(writer.answers) > 20)
    postgres_server.stop(how)
    try:
        until(lambda: said)
        before = len(writer.answers)
    finally:
        postgres_server.start()
    until(lambda: len(writer.answers) > before + 20)
    writer.enough.set()
    writer.join(timeout=60)
    assert all(writer.answers)
    numbers = list(range(1, len(writer.answers) + 1))
    assert [row.epoch for row in store.epochs(name)] == numbers
    assert [row.epoch for row in store.decisions("toy-1")] == numbers
    assert store.trial(name).epochs == numbers[-1]
    gone, back = said
    assert "is gone (" in gone
    assert "waiting for it up to 600 s" in gone
    assert "is back after" in back
    assert not any("\n" in sentence for sentence in said)
    store.close()


def test_a_server_that_was_restarted_between_two_reports_is_not_worth_a_word(postgres_server, postgres_url):
    store, said = listening(postgres_url)
    name = trial(store, search(store), [])
    postgres_server.stop()
    postgres_server.start()
    assert store.commit_report(name, epoch(1), None)
    assert said == []
    store.close()


@pytest.fixture
def broken_in_its_commit(postgres_url):
    """A store whose next transaction is committed, and whose connection ends before the answer comes."""
    store, _ = listening(postgres_url)
    name = trial(store, search(store), [])
    armed = [False]

    @sa.event.listens_for(store._engine, "commit")
    def break_after_commit(connection):
        if armed[0]:
            armed[0] = False
            connection.connection.dbapi_connection.commit()
            connection.connection.dbapi_connection.close()

    yield store, name, armed
    assert not armed[0]
    store.close()


@pytest.mark.parametrize(
    ("epoch_row", "decided"), [(epoch(1), True), (epoch(1), False), (epoch(1, val_loss=None), False)]
)
def test_a_report_whose_answer_was_lost_is_there_once_and_counts_as_written(broken_in_its_commit, epoch_row, decided):
    store, name, armed = broken_in_its_commit
    armed[0] = True
    assert store.commit_report(name, epoch_row, decision(name, 1) if decided else None, status="running")
    assert store.epochs(name) == [epoch_row]
    assert len(store.decisions("toy-1")) == decided
    assert not store.commit_report(name, epoch_row, None)


def test_a_trial_and_a_search_whose_answer_was_lost_are_there_once(broken_in_its_commit):
    store, _, armed = broken_in_its_commit
    armed[0] = True
    assert store.create_search("toy", "", {}, {}) == "toy-2"
    armed[0] = True
    number = dict.fromkeys(("parameters", "neurons_used", "macs", "macs_conditional"), 1)
    assert store.add_trial("toy-2", 1, {"lr": 0.1}, **number) == "toy-2.1"
    assert [row.id for row in store.searches()] == ["toy-1", "toy-2"]
    assert [row.id for row in store.trials("toy-2")] == ["toy-2.1"]
    armed[0] = True
    store.update_trial("toy-2.1", provenance={"gpu": "H100"})
    assert store.trial("toy-2.1").provenance == {"gpu": "H100"}
    with pytest.raises(IntegrityError):  # another's trial under this number is no lost answer
        store.add_trial("toy-2", 1, {"lr": 0.2}, **number)


def test_a_database_that_another_process_has_locked_is_waited_for(url, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.2)
    store, said = listening(url)
    name = trial(store, search(store), [])
    other = sqlite3.connect(tmp_path / "arbor.db", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    writer = Writer(store, name)
    writer.start()
    until(lambda: said)
    assert "is gone (database is locked); waiting for it" in said[0]
    assert store.last_epoch(name) == 0  # who only reads need not wait
    other.rollback()
    until(lambda: len(writer.answers) >= 5)
    writer.enough.set()
    writer.join(timeout=60)
    assert "is back after" in said[1]
    assert [row.epoch for row in store.epochs(name)] == list(range(1, len(writer.answers) + 1))
    store.close()


def test_a_database_that_stays_away_ends_a_command_with_one_sentence(url, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.1)
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0.5)
    store, _ = listening(url)
    other = sqlite3.connect(tmp_path / "arbor.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseGoneError, match=r"did not come back within .* --resume"):
        store.create_search("toy", "", {}, {})

    def command(prog_name, standalone_mode):
        store.create_search("toy", "", {}, {})

    with pytest.raises(SystemExit) as ended:
        run(command, "python -m results.toy")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("Error: The database sqlite:///")
    other.rollback()
    assert store.create_search("toy", "", {}, {}) == "toy-1"
    store.close()


def test_what_waiting_cannot_mend_is_raised_at_once(address):
    store, said = listening(address)
    name = trial(store, search(store), [])
    with pytest.raises(IntegrityError):
        store.commit_report(name, epoch(1), decision("toy-1.99", 1))
    with pytest.raises(InputError):
        store.trial("toy-9.1")
    with store._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE requests")
        connection.exec_driver_sql("DROP TABLE measurements")
    with pytest.raises(sa.exc.DBAPIError, match="measurements"):
        store.keep_measurement("k", {})
    assert said == []
    store.close()


def test_a_server_that_is_down_is_refused_at_once_where_it_is_opened(postgres_server, postgres_url):
    postgres_server.stop()
    try:
        with pytest.raises(InputError, match="cannot be opened"):
            Store.open(postgres_url)
    finally:
        postgres_server.start()


def test_many_readers_see_whole_reports_while_a_search_writes(address):
    """Of an epoch, its decision and the trial's columns, a reader finds all or none."""
    store, _ = listening(address)
    name = trial(store, search(store), [])
    writer = Writer(store, name)
    wrong: list[tuple[int, int, int]] = []
    seen = [0, 0, 0]

    def read(index):
        with Store.open(address, create=False) as reader:
            while not writer.enough.is_set():
                first = reader.trial(name).epochs
                epochs = len(reader.epochs(name))
                decisions = len(reader.decisions("toy-1"))
                if not seen[index] <= first <= epochs <= decisions:
                    wrong.append((first, epochs, decisions))
                seen[index] = first

    readers = [threading.Thread(target=read, args=(index,)) for index in range(len(seen))]
    for thread in (writer, *readers):
        thread.start()
    until(lambda: min(seen) > 50 or wrong)
    writer.enough.set()
    for thread in (writer, *readers):
        thread.join(timeout=60)
    assert wrong == []
    assert all(writer.answers)
    store.close()
