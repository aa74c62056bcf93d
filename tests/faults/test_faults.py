"""What kill -9 costs a search, whatever is killed: nothing that was reported, and nothing stays behind."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import shared_memory
from pathlib import Path

import psutil
import pytest

from benchmarks import fault_audit
from benchmarks.fault_audit import committed, differences, history_faults, left_files, left_on_the_machine, story
from benchmarks.fault_campaign import Campaign
from benchmarks.fault_processes import MARK, target_of
from benchmarks.fault_processes import shared_memory as shared_files
from results.rows import EpochRow
from results.store import Store

SEARCH = '''\
from search.experiment import Experiment
from search.space import suggest_ffn


def tiny() -> Experiment:
    """Which of some tiny models reads digits best?"""
    return Experiment(
        base={"data": "digits", "batch_size": 128, "patch": 16, "dim": 16, "depth": 2, "heads": 1, "epochs": 6},
        space=space,
        ranges={"ffn.mlp.hidden": (8, 64), "ffn.fff.depth": (1, 3), "ffn.fff.trees": (1, 2)},
        trials=6,
        grace=1,
        reduction=2,
        threads=1,
    )


def space(scope):
    return {**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-4, 1e-2, log=True)}
'''


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_of_which_everything_was_killed_once_is_one_that_nobody_touched(tmp_path, digits):
    (tmp_path / "tiny.py").write_text(SEARCH)
    first = ["driver", "trial worker", "driver", "gcs_server", "raylet"]  # drivers first: their agents stay for a while
    campaign = Campaign(tmp_path, ["tiny.py", "--concurrency", "1"], kills=len(first), seed=1, first=first)
    outcome = campaign.run(compare=True)
    assert outcome.faults == []
    assert outcome.by_target == {"driver": 2, "trial worker": 1, "raylet": 1, "gcs_server": 1}
    assert outcome.resumes >= 1  # a driver that dies before its search is in the store is started anew
    assert outcome.own_restarts >= 1  # at least the dead GCS; a raylet may die when all is done
    assert outcome.compared


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_fifty_kills_cost_nothing(tmp_path, digits, concurrency):
    (tmp_path / "tiny.py").write_text(SEARCH)
    arguments = ["tiny.py", "--concurrency", str(concurrency)]
    assert Campaign(tmp_path, arguments, kills=50, seed=2).run(compare=concurrency == 1).faults == []


@pytest.fixture
def recorded(tmp_path):
    """A store with one ended trial of two epochs, of a search that is none of search.run's."""
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        settings = {"source": "x", "scheduler": "none", "grace": 1, "reduction": 2, "epochs": 2, "pooled_rungs": False,
                    "grid": None, "trials": 1}  # fmt: skip
        search_id = store.create_search("x", "?", settings, {})
        config = {"ffn": "mlp", "epochs": 2, "seed": 0}
        trial_id = store.add_trial(search_id, 1, config, parameters=1, neurons_used=1, macs=1, macs_conditional=1)
        for epoch in (1, 2):
            row = EpochRow(epoch=epoch, train_loss=1.0, val_loss=1.0, val_acc=0.5, lr=1e-3, train_seconds=1.0,
                           val_seconds=1.0, images_per_second=1.0)  # fmt: skip
            store.commit_report(trial_id, row, None)
        store.update_trial(trial_id, status="finished", ended=datetime.now(UTC))
        store.update_search(search_id, status="ended")
        yield store, search_id, trial_id


def test_a_whole_history_has_no_fault(recorded):
    store, search_id, _ = recorded
    assert history_faults(store, search_id, committed(store, search_id)) == []


def test_an_epoch_that_was_seen_and_is_gone_or_other_is_a_fault(recorded):
    store, search_id, trial_id = recorded
    seen = committed(store, search_id)
    third = replace(seen[trial_id, 2], epoch=3)
    assert history_faults(store, search_id, {**seen, (trial_id, 3): third}) == [f"epoch 3 of {trial_id} was lost"]
    other = replace(seen[trial_id, 1], val_acc=0.4)
    [fault] = history_faults(store, search_id, {**seen, (trial_id, 1): other})
    assert fault == f"epoch 1 of {trial_id} was committed twice, with other values"


@pytest.mark.parametrize(("columns", "fault"), [({"status": "running", "ended": None}, "running, which is no end"),
                                                ({"epochs": 3}, "has the epochs [1, 2], but its row says 3"),
                                                ({"status": "failed", "cause": "it died"}, "failed: it died")])  # fmt: skip
def test_a_trial_that_did_not_come_to_its_end_is_a_fault(recorded, columns, fault):
    store, search_id, trial_id = recorded
    store.update_trial(trial_id, **columns)
    assert any(fault in each for each in history_faults(store, search_id, {}))


def test_two_searches_differ_in_what_they_measured_and_not_in_their_ids(recorded, tmp_path):
    store, search_id, trial_id = recorded
    whole = story(store, search_id)
    assert differences(whole, story(store, search_id)) == []
    store.update_trial(trial_id, val_acc=0.6)
    [fault] = differences(story(store, search_id), whole)
    assert "trial 1's row differs" in fault
    assert differences(whole[:-1], whole)


def test_processes_sockets_and_shared_memory_that_stay_are_found(monkeypatch):
    monkeypatch.setattr(fault_audit, "GONE_SECONDS", 0)
    before = shared_files()
    listen = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", listen], env={**os.environ, MARK: "m"}, stdout=subprocess.PIPE, text=True
    )
    memory = shared_memory.SharedMemory(create=True, size=16)
    try:
        assert child.stdout is not None
        port = child.stdout.readline().strip()
        left, _ = left_on_the_machine("m", before)
        assert any(f"process left: {child.pid}" in each for each in left)
        assert any(f":{port}" in each for each in left if each.startswith("socket"))
        memory.close()  # nobody has it mapped now, and its file is there
        left, _ = left_on_the_machine("another mark", before)
        assert [f"shared memory left: /dev/shm/{memory.name}"] == [each for each in left if memory.name in each]
    finally:
        child.kill()
        child.wait()
        memory.unlink()


def test_files_that_stay_are_found(tmp_path):
    for name in ("runs/x-1/ray", "runs/x-1/001-mlp/tensorboard", "runs/data", "tmp/arbor-ray-1"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("x-1/001-mlp/last.pt", "x-1/001-mlp/.last.pt.77", "x-1/001-mlp/selected.pt", "data/.digits.lock"):
        (tmp_path / "runs" / name).touch()
    faults = left_files(tmp_path / "runs", tmp_path / "tmp")
    assert sorted(Path(fault.rpartition(" ")[2]).name for fault in faults) == [
        ".last.pt.77", "arbor-ray-1", "last.pt", "ray",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("title", "target"),
    [("ray::TrialActor", "trial worker"), ("ray::ResourceTrainable.train", "trial worker"),
     ("ray::tiny-1.3-fff-depth=2", "trial worker"), ("ray::RankWorker.step", "gang worker"), ("ray::IDLE", None),
     ("ray::DashboardAgent", None), ("python", None)],
)  # fmt: skip
def test_a_process_is_told_by_what_it_is(title, target):
    child = subprocess.Popen(["bash", "-c", f"exec -a {title} sleep 60"])
    try:
        process = psutil.Process(child.pid)
        deadline = time.monotonic() + 20
        while process.cmdline()[:1] != [title] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert target_of(process, driver=1) == target
        assert target_of(process, driver=child.pid) == "driver"
    finally:
        child.kill()
        child.wait()
