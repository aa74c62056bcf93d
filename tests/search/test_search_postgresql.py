"""A real search whose store is a real PostgreSQL."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from results.errors import InputError
from results.frames import load
from results.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENT = '''
from search.experiment import Experiment

def tiny() -> Experiment:
    """Does it run?"""
    return Experiment(
        base={"data": "digits", "epochs": 2, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1},
        grid=[{"lr": 1e-3}, {"lr": 3e-3}], seeds=(0,),
    )
'''


@pytest.mark.slow
def test_a_search_keeps_its_results_in_postgresql(postgres, tmp_path):
    (tmp_path / "tiny.py").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "search.run", "tiny.py", "--no-dashboard", "--storage", postgres]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    frames = load(postgres)
    assert list(frames.trials["status"]) == ["finished", "finished"]
    assert len(frames.epochs) == 4
    assert (tmp_path / "runs" / "tiny-1" / "curves.png").exists()


def epochs_of(url: str, search: str) -> int:
    with Store.open(url) as store:
        return sum(row.epochs for row in store.trials(search)) if search in [row.id for row in store.searches()] else 0


@pytest.mark.slow
def test_a_search_outlives_a_restart_of_its_database(postgres_server, tmp_path):
    """The server is killed for some seconds: the driver waits, says so, and no epoch is lost or doubled."""
    url = postgres_server.url
    (tmp_path / "restarted.py").write_text(
        EXPERIMENT.replace("tiny()", "restarted()").replace('"epochs": 2', '"epochs": 12')
    )
    command = [sys.executable, "-m", "search.run", "restarted.py", "--no-dashboard", "--storage", url]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while epochs_of(url, "restarted-1") < 4:
            assert run.poll() is None, run.communicate()
            time.sleep(0.2)
        postgres_server.stop("immediate")
        time.sleep(3)
        postgres_server.start()
        out, error = run.communicate(timeout=200)
    finally:
        run.kill()
    assert run.returncode == 0, error
    assert "is gone (" in out + error
    assert "is back after" in out + error
    frames = load(url)
    trials = frames.trials[frames.trials["search_id"] == "restarted-1"]
    assert list(trials["status"]) == ["finished", "finished"]
    for trial in trials["id"]:
        assert list(frames.epochs[frames.epochs["trial_id"] == trial]["epoch"]) == list(range(1, 13))


@pytest.mark.slow
def test_two_users_search_at_once_in_one_database_while_a_third_reads(postgres_server, tmp_path):
    """Two roles of a group that owns the tables; a role outside of it is told so, and changes nothing."""
    admin = sa.create_engine(postgres_server.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in ("CREATE ROLE team", "CREATE ROLE ann LOGIN IN ROLE team", "CREATE ROLE bob LOGIN IN ROLE team",
                          "CREATE ROLE eve LOGIN", "CREATE DATABASE shared OWNER team"):  # fmt: skip
            connection.execute(sa.text(statement))
    admin.dispose()

    def url_of(user, role="&options=-c%20role%3Dteam"):
        return f"postgresql+psycopg://{user}@/shared?host={postgres_server.folder}{role}"

    runs = []
    for user in ("ann", "bob"):
        (tmp_path / user).mkdir()
        (tmp_path / user / "tiny.py").write_text(EXPERIMENT.replace('"epochs": 2', '"epochs": 6'))
        command = [sys.executable, "-m", "search.run", "tiny.py", "--no-dashboard", "--storage", url_of(user)]
        runs.append(
            subprocess.Popen(command, cwd=tmp_path / user, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    seen, most = set(), 0
    with Store.open(url_of("ann")):
        pass  # the tables are there, whichever of the two is first
    try:
        while any(run.poll() is None for run in runs):
            frames = load(url_of("ann"))
            assert len(frames.epochs) >= most, "what a reader has seen is never taken back"
            most = len(frames.epochs)
            seen.update(zip(frames.trials["id"], frames.trials["status"], strict=True))
        outputs = [run.communicate(timeout=60) for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [0, 0], outputs
    frames = load(url_of("bob"))
    assert sorted(frames.searches["id"]) == ["tiny-1", "tiny-2"]
    assert list(frames.searches["status"]) == ["ended", "ended"]
    assert list(frames.trials["status"]) == ["finished"] * 4
    for trial in frames.trials["id"]:
        assert list(frames.epochs[frames.epochs["trial_id"] == trial]["epoch"]) == list(range(1, 7))
        assert (trial, "running") in seen, "readers saw it while it trained"
    with pytest.raises(InputError, match=r"cannot be opened .*permission denied"):
        Store.open(url_of("eve", role=""))
