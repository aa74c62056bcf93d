"""The store: what is written is there whole, what cannot be used is refused in one sentence."""

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from results import schema
from results.errors import InputError
from results.frames import load
from results.ids import variant_hash
from results.rows import DecisionRow, EpochRow
from results.store import Store
from results.tuned import LR_TUNING


@pytest.fixture
def store(address):
    with Store.open(address) as opened:
        yield opened


@pytest.fixture
def sqlite_store(url):
    with Store.open(url) as opened:
        yield opened


def epoch(number, val_acc=0.5, **changes):
    values = {
        "epoch": number, "train_loss": 1.0, "val_loss": 1.1, "val_acc": val_acc, "lr": 1e-3,
        "train_seconds": 2.0, "val_seconds": 0.2, "images_per_second": 100.0, "extra": {"a": 1},
    }  # fmt: skip
    return EpochRow(**{**values, **changes})


def new_trial(store, **config):
    search = store.latest_search() or store.create_search(
        "toy", "Why?", {"grid": None}, {"git_commit": "abc"}, "n", ["t"]
    )
    number = len(store.trials(search)) + 1
    return store.add_trial(
        search, number, {"lr": 0.1, "patience": None, "seed": 3, **config},
        parameters=5_000_000_000, neurons_used=None, macs=7, macs_conditional=7,
    )  # fmt: skip


def test_searches_and_trials_come_back_as_they_were_written(store):
    trial = store.trial(new_trial(store))
    assert trial.id == "toy-1.1"
    assert trial.config == {"lr": 0.1, "patience": None, "seed": 3}
    assert (trial.status, trial.seed, trial.epochs, trial.parameters) == ("pending", 3, 0, 5_000_000_000)
    assert trial.created.utcoffset().total_seconds() == 0
    search = store.search("toy-1")
    assert (search.experiment, search.question, search.notes, search.tags) == ("toy", "Why?", "n", ["t"])
    assert store.create_search("toy", "", {}, {}) == "toy-2"
    assert [row.id for row in store.searches()] == ["toy-1", "toy-2"]


def test_a_variant_is_a_dictionary_without_its_seed():
    assert variant_hash({"lr": 0.1, "seed": 1}) == variant_hash({"seed": 2, "lr": 0.1})
    assert variant_hash({"lr": 0.1, "seed": 1}) != variant_hash({"lr": 0.2, "seed": 1})


def test_a_report_is_epoch_decision_and_trial_in_one(store):
    trial = new_trial(store)
    decision = DecisionRow(trial_id=trial, epoch=1, scheduler="asha", rung=1, value=0.5, cutoff=0.6, decision="stop")
    assert store.commit_report(trial, epoch(1), decision, status="stopped", test_acc=0.4)
    row = store.trial(trial)
    assert (row.status, row.epochs, row.val_acc, row.best_epoch, row.test_acc) == ("stopped", 1, 0.5, 1, 0.4)
    assert store.epochs(trial) == [epoch(1)]
    assert store.decisions("toy-1")[0].cutoff == 0.6
    assert store.last_epoch(trial) == 1


def test_an_epoch_that_is_there_is_not_written_again(store):
    trial = new_trial(store)
    assert store.commit_report(trial, epoch(1), None, status="running")
    assert not store.commit_report(trial, epoch(1, val_acc=0.9), None, status="finished")
    assert store.trial(trial).status == "running"
    assert store.epochs(trial)[0].val_acc == 0.5


def test_nothing_of_a_report_is_kept_when_a_part_of_it_fails(store):
    trial = new_trial(store)
    orphan = DecisionRow(trial_id="toy-1.99", epoch=1, scheduler="asha", rung=1, value=0.5, cutoff=0.6, decision="stop")
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store.commit_report(trial, epoch(1), orphan, status="stopped")
    assert store.epochs(trial) == []
    assert store.trial(trial).status == "pending"


def test_the_best_epoch_is_the_first_of_the_highest(store):
    trial = new_trial(store)
    for number, value in enumerate((0.3, 0.7, 0.6, 0.7), start=1):
        store.commit_report(trial, epoch(number, value), None)
    row = store.trial(trial)
    assert (row.best_val_acc, row.best_epoch, row.val_acc) == (0.7, 2, 0.7)


def test_what_is_not_finite_becomes_null_and_is_said(store):
    trial = new_trial(store)
    store.commit_report(trial, epoch(1, val_acc=math.nan, train_loss=math.inf), None, status="diverged")
    row = store.epochs(trial)[0]
    assert (row.train_loss, row.val_acc, row.val_loss) == (None, None, 1.1)
    assert row.extra["not_finite"] == {"train_loss": "inf", "val_acc": "nan"}


def test_provenance_is_merged_and_a_wrong_status_refused(store):
    trial = new_trial(store)
    store.update_trial(trial, provenance={"gpu": "H100"})
    store.update_trial(trial, provenance={"threads": 2})
    assert store.trial(trial).provenance == {"gpu": "H100", "threads": 2}
    with pytest.raises(ValueError, match="status must be one of"):
        store.update_trial(trial, status="done")


def test_an_unknown_id_is_refused_with_the_nearest(store):
    new_trial(store)
    with pytest.raises(InputError, match=r"Unknown trial 'toy-1\.2'; did you mean 'toy-1\.1'"):
        store.trial("toy-1.2")
    with pytest.raises(InputError, match="Unknown search 'toi-1'; did you mean 'toy-1'"):
        store.search("toi-1")


def test_two_processes_that_make_searches_at_once_get_ids_of_their_own(address):
    Store.open(address).close()
    script = (
        "from results.store import Store\n"
        f"s = Store.open({address!r})\n"
        "print(*[s.create_search('race', '', {}, {}) for _ in range(20)])"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(3)
    ]
    ids = [name for run in runs for name in run.communicate()[0].split()]
    assert sorted(ids) == sorted(f"race-{number}" for number in range(1, 61))


def test_readers_read_while_a_writer_writes(store, address):
    trial = new_trial(store)
    seen: list[int] = []

    def read():
        with Store.open(address, create=False) as reader:
            while not seen or seen[-1] < 200:
                seen.append(reader.last_epoch(trial))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 201):
        store.commit_report(trial, epoch(number), None)
    reader.join(timeout=60)
    assert seen[-1] == 200
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("nonsense", "must be an SQLAlchemy URL"),
        ("sqlite:///{tmp}/no/such/arbor.db", "does not exist"),
        ("sqlite://", "must outlive the command"),
        ("sqlite:///{tmp}", "is a folder"),
        ("oracle://x/y", "driver that is not installed"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot be opened|driver that is not installed"),
    ],
)
def test_storage_that_cannot_be_opened_is_refused(tmp_path, address, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        Store.open(address.format(tmp=tmp_path))
    assert "\n" not in str(caught.value)


def test_only_the_folder_runs_is_made(tmp_path):
    Store.open(f"sqlite:///{tmp_path}/runs/arbor.db").close()
    assert (tmp_path / "runs" / "arbor.db").exists()
    with pytest.raises(InputError, match="only runs/ is made by itself"):
        Store.open(f"sqlite:///{tmp_path}/other/arbor.db")


def test_a_missing_database_is_refused_where_it_is_to_be_read(url):
    with pytest.raises(InputError, match=r"There is no database at .* yet; run a search first"):
        Store.open(url, create=False)


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path, url):
    connection = sqlite3.connect(tmp_path / "arbor.db")
    connection.execute("CREATE TABLE trials (mine TEXT)")
    connection.commit()
    with pytest.raises(InputError, match="belongs to another program"):
        Store.open(url)
    assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["trials"]


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, url):
    (tmp_path / "arbor.db").write_text("my notes " * 1000)
    with pytest.raises(InputError, match="is not an SQLite database"):
        Store.open(url)
    assert (tmp_path / "arbor.db").read_text().startswith("my notes")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path, url):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        Store.open(url)


@pytest.fixture
def disk(tmp_path, mount):
    """A small disk, and what makes it one for reading alone, since nothing else stops root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=20m")
    return folder, lambda: subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


@pytest.mark.parametrize("log_is_left", [False, True])
def test_a_store_on_a_read_only_disk_is_read_and_not_written(tmp_path, disk, log_is_left):
    folder, freeze = disk
    writer = Store.open(f"sqlite:///{tmp_path}/arbor.db")
    trial = new_trial(writer)
    if not log_is_left:
        writer.close()
    for path in tmp_path.glob("arbor.db*"):  # with the log as a killed process leaves it
        shutil.copy(path, folder)
    assert (folder / "arbor.db-wal").exists() == log_is_left
    writer.close()
    freeze()
    url = f"sqlite:///{folder}/arbor.db"
    with Store.open(url, create=False, to_read=True) as reader:
        assert reader.trial(trial).id == trial
        with pytest.raises(sa.exc.OperationalError, match="readonly database"):
            reader.update_trial(trial, status="failed")
    assert list(load(url).trials["id"]) == [trial]
    with pytest.raises(InputError, match="cannot be written to"):
        Store.open(url)


def test_an_older_store_on_a_read_only_disk_is_to_be_copied(disk):
    folder, freeze = disk
    url = f"sqlite:///{folder}/arbor.db"
    with Store.open(url) as store, store._engine.begin() as connection:
        connection.execute(schema.meta.update().values(value="2"))
    freeze()
    with pytest.raises(InputError, match=r"must be brought to version .* copy it, and name the copy"):
        load(url)


def test_a_full_disk_is_an_os_error_that_says_so(sqlite_store):
    """SQLite's own limit on pages stands for the disk: the error that comes out of the engine is the same one."""
    store = sqlite_store
    trial = new_trial(store)

    @sa.event.listens_for(store._engine, "connect")
    def limit(connection, record):
        connection.execute("PRAGMA max_page_count = 30")

    store._engine.dispose()

    def fill():
        for number in range(1, 2000):
            store.commit_report(trial, epoch(number, extra={"filler": "x" * 2000}), None)

    with pytest.raises(OSError, match="No space left") as caught:
        fill()
    assert caught.value.errno == 28
    assert store.last_epoch(trial) == store.trial(trial).epochs


def test_a_search_named_as_a_trial_is_said_to_be_one_with_its_best_trial(store):
    search = store.create_search("toy", "?", {}, {})
    with pytest.raises(InputError, match=r"^'toy-1' is a search, and has no trial yet\.$"):
        store.trial(search)
    names = [new_trial(store, hidden=hidden) for hidden in (8, 9, 10)]
    with pytest.raises(
        InputError, match=r"^'toy-1' is a search; name a trial of it, such as toy-1\.1 \(its first\)\.$"
    ):
        store.trial(search)
    for name, accuracy, status in zip(names, (0.5, 0.7, 0.9), ("finished", "finished", "stopped"), strict=True):
        store.commit_report(name, epoch(1, val_acc=accuracy), None, status=status)
    with pytest.raises(InputError, match=r"such as toy-1\.2 \(its best\)\.$"):
        store.trial(search)
    store.update_trial(names[1], provenance={LR_TUNING: 1e-3})
    with pytest.raises(InputError, match=r"such as toy-1\.1 \(its best\)\.$"):
        store.trial(search)
