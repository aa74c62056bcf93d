"""Whole searches by `search.run`: real Ray, DeepSpeed, DALI and Optuna on small models."""

import os
import socket
import subprocess
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from search.cluster import read_token

sys.path.insert(0, str(Path(__file__).parent))
from doors import doors_of, kinds_of

QUICK_TRIALS, QUICK_REDUCTION = 6, 2
HIDDEN_BUG = '''\
"""A kind whose forward pass raises."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from arch_space.registry import FFN


@FFN.register("broken")
@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenConfig:
    """Raises when it is used."""

    widths: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def suggest(cls, scope):
        return cls()

    def build(self, dim, dropout):
        return Broken()

    def parameters(self, dim):
        return 0

    def neurons_used(self, dim):
        return 0

    def macs(self, dim, tokens):
        return 0

    macs_conditional = macs


class Broken(nn.Module):
    def forward(self, x):
        if not x.is_meta:
            raise ArithmeticError("no tree grows here")
        return x
'''
FAILURES = '''\
from search.experiment import Experiment


def failures() -> Experiment:
    """What becomes of trials that cannot train?"""
    base = {"data": "digits", "epochs": 3, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1}
    grid = [
        {"ffn": "mlp", "ffn.mlp.hidden": 8, "lr": 100.0, "weight_decay": 9.0, "warmup_epochs": 0},
        {"ffn": "broken", "lr": 1e-3, "weight_decay": 0.05, "warmup_epochs": 1},
        {"ffn": "mlp", "ffn.mlp.hidden": 8, "lr": 1e-3, "weight_decay": 0.05, "warmup_epochs": 1},
    ]
    return Experiment(base=base, grid=grid, threads=1)
'''


@pytest.fixture(scope="module")
def searched(shared_place):
    """The place of one small search that ran to its end, and what it printed."""
    started = shared_place.start("search.run", "tiny.py")
    started.wait_for(r"epoch 1/4")
    assert started.finish() == 0, started.output
    shared_place.printed = started.output
    return shared_place


def trials_of(place, search_id="tiny-1"):
    with place.store() as store:
        return store.trials(search_id)


def one(place, *statuses):
    """The first trial with one of these statuses."""
    return next(row for row in trials_of(place) if row.status in statuses)


def test_a_search_ends_with_a_table_a_picture_and_the_commands_to_go_on(searched):
    assert "Which of some tiny models reads digits best?" in searched.printed
    assert "rank" in searched.printed
    for row in trials_of(searched):
        assert f"{row.id} {row.config['ffn']}" in searched.printed
    best = max((row for row in trials_of(searched) if row.status == "finished"), key=lambda row: row.val_acc)
    assert f"-m trainer.evaluate {best.id}" in searched.printed
    assert f"-m trainer.replay {best.id}" in searched.printed
    assert f"{100 * best.val_acc:.2f}" in searched.printed
    assert (searched.folder / "runs/tiny-1/curves.png").stat().st_size > 10_000
    assert not (searched.folder / "runs/tiny-1/ray").exists()


def test_every_trial_has_an_end_and_a_complete_row(searched):
    with searched.store() as store:
        assert store.search("tiny-1").status == "ended"
        rows = store.trials("tiny-1")
        curves = {row.id: store.epochs(row.id) for row in rows}
    assert [row.number for row in rows] == list(range(1, QUICK_TRIALS + 1))
    assert {row.status for row in rows} <= {"finished", "stopped"}
    assert any(row.status == "finished" for row in rows)
    for row in rows:
        assert [epoch.epoch for epoch in curves[row.id]] == list(range(1, row.epochs + 1))
        assert (row.status == "finished") == (row.epochs == 4)
        assert (row.test_acc is not None) == (row.status == "finished")
        assert row.val_acc == curves[row.id][-1].val_acc
        assert row.created <= row.started <= row.ended
        assert row.wall_seconds > 0
        provenance = row.provenance
        assert provenance["versions"]["deepspeed"]
        assert provenance["data_checksum"]
        assert provenance["threads"] == 1


def test_every_decision_is_what_asha_says_of_the_epochs_in_the_store(searched):
    """Recomputed from the curves alone: at a rung, the best 1/2 of what this kind's rung has seen so far go on."""
    with searched.store() as store:
        rows = {row.id: row for row in store.trials("tiny-1")}
        curves = {name: {epoch.epoch: epoch.val_acc for epoch in store.epochs(name)} for name in rows}
        decisions = store.decisions("tiny-1")
    seen = defaultdict(list)
    for decision in decisions:  # in the order in which they were taken
        value = curves[decision.trial_id][decision.epoch]
        rung = seen[rows[decision.trial_id].config["ffn"], decision.rung]
        rung.append(value)
        better = sum(other > value for other in rung)
        assert decision.value == value
        assert decision.decision == ("continue" if better < max(1, len(rung) // QUICK_REDUCTION) else "stop")
    judged = {(decision.trial_id, decision.epoch) for decision in decisions}
    assert judged == {(name, rung) for name in rows for rung in (1, 2) if rung in curves[name]}
    stopped = {decision.trial_id for decision in decisions if decision.decision == "stop"}
    assert stopped == {name for name, row in rows.items() if row.status == "stopped"}


def test_a_finished_trial_keeps_its_selected_checkpoint_and_a_stopped_one_none(searched):
    for row in trials_of(searched):
        folder = Path(row.provenance["folder"])
        assert folder.parent == searched.folder / "runs/tiny-1"
        files = {path.name for path in folder.iterdir() if path.is_file()}
        assert files == ({"selected.pt", "predictions.npz"} if row.status == "finished" else set())
        assert [path for path in (folder / "tensorboard").iterdir() if path.name.startswith("events.out.tfevents")]


def test_evaluate_finds_the_loss_that_the_store_has(searched):
    row = one(searched, "finished")
    for split, loss, accuracy in (("val", row.val_loss, row.val_acc), ("test", row.test_loss, row.test_acc)):
        answer = searched.run_json("trainer.evaluate", row.id, "--split", split)
        assert (answer["loss"], answer["accuracy"]) == (loss, accuracy)
        assert (answer["stored_loss"], answer["stored_accuracy"]) == (loss, accuracy)


def test_a_search_that_has_ended_leaves_no_process_behind(searched):
    searched.wait_until_gone(60)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["finished", "stopped"])
def test_a_replay_of_a_trial_of_the_search_is_identical(searched, status):
    printed = searched.run("trainer.replay", one(searched, status).id)
    assert "Verdict: identical" in printed


@pytest.mark.slow
def test_trials_that_cannot_train_are_recorded_with_their_cause_and_added_seeds_train_alone(place):
    place.write("failures.py", FAILURES)
    variants = place.write("broken.py", HIDDEN_BUG)
    printed = place.run("search.run", "failures.py", "--variants", str(variants))
    rows = trials_of(place, "failures-1")
    assert [row.status for row in rows] == ["diverged", "failed", "finished"]
    assert "the loss was not finite in epoch" in rows[0].cause
    assert rows[1].cause == "ArithmeticError: no tree grows here"
    table = printed[printed.index("rank") :]
    assert "diverged" in table
    assert "failed" in table
    for row in rows[:2]:
        assert not [path for path in Path(row.provenance["folder"]).iterdir() if path.is_file()]
    # more seeds: the same id, the same rows, and only what is missing is trained; workers still know the added kind
    printed = place.run("search.run", "--resume", "failures-1", "--seeds", "2")
    assert not [row.id for row in rows if f"{row.id} {row.config['ffn']}" in printed[: printed.index("rank")]]
    assert trials_of(place, "failures-1")[:3] == rows
    added = trials_of(place, "failures-1")[3:]
    assert [(row.seed, row.status) for row in added] == [(1, "diverged"), (1, "failed"), (1, "finished")]
    assert [row.variant for row in added] == [row.variant for row in rows]
    assert added[1].cause == rows[1].cause
    variants.unlink()
    for command in (("trainer.replay", rows[2].id), ("search.run", "--resume", "failures-1")):
        assert "broken.py' does not exist" in place.run(*command, code=2)


@pytest.fixture(scope="module")
def running(shared_place):
    """A search that goes on for as long as the tests look at it; with Ray's dashboard."""
    started = shared_place.start("search.run", "pairs.py", "--epochs", "20000", "--dashboard")
    started.wait_for("Ray dashboard: http://127.0.0.1")
    started.wait_for(r"pairs-1\.1 .*epoch 2/")
    started.wait_for(r"pairs-1\.2 .*epoch 2/")
    yield started
    if started.process.poll() is None:
        started.ctrl_c()
        started.finish()


@pytest.mark.slow
def test_a_second_driver_of_a_running_search_is_refused(running, shared_place):
    printed = shared_place.run("search.run", "--resume", "pairs-1", code=2)
    assert f"is being driven by process {running.pid} on this host" in printed


@pytest.mark.slow
def test_a_trial_of_a_running_search_can_be_evaluated(running, shared_place):
    answer = shared_place.run_json("trainer.evaluate", "pairs-1.1")
    with shared_place.store() as store:
        row = store.trial("pairs-1.1")
        epoch = next(epoch for epoch in store.epochs("pairs-1.1") if epoch.epoch == answer["epoch"])
    assert row.status == "running"
    assert Path(answer["checkpoint"]).name == "last.pt"
    assert answer["loss"] == epoch.val_loss


@pytest.mark.slow
def test_a_search_listens_on_loopback_alone(running):
    """Driver, workers, Ray's own servers, its agents and its dashboard."""
    family = running.note_family()
    listening = {
        (process.pid, connection.laddr.ip)
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len({pid for pid, _ in listening}) > 5
    assert {address for _, address in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.slow
def test_every_door_of_a_search_asks_for_the_token_but_for_at_most_three_that_say_numbers(running):
    kinds = kinds_of(doors_of(running.note_family()), read_token())
    assert {"gcs_server", "raylet"} <= {door.process for door in kinds}
    assert set(kinds.values()) == {"guarded", "metrics", "link", "silent"}, kinds
    # two of the three have the same number for every Ray of a host: the first one has them
    assert 1 <= sum(kind == "metrics" for kind in kinds.values()) <= 3
    assert {door.address for door, kind in kinds.items() if kind in ("link", "silent")} == {"127.0.0.1"}


@pytest.mark.slow
def test_a_client_without_the_token_is_refused_by_a_running_search(running):
    """One of our own with the token gets in, so it is the token that the others lack."""
    (gcs,) = [process for process in running.note_family() if process.name() == "gcs_server"]
    (port,) = {
        connection.laddr.port for connection in gcs.net_connections("tcp") if connection.status == psutil.CONN_LISTEN
    }
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    script = textwrap.dedent(
        f"""
        import sys
        import ray._raylet as raylet
        client = raylet.GcsClient(address="127.0.0.1:{port}")
        print(len(client.get_all_node_info(timeout=60)), "node")
        """
    )
    clients = {
        name: subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for name, environment in {
            "right": {"RAY_AUTH_MODE": "token"},
            "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "none": {"RAY_AUTH_MODE": "disabled"},
        }.items()
    }  # fmt: skip
    printed = {name: client.communicate(timeout=120)[0] for name, client in clients.items()}
    codes = {name: client.returncode for name, client in clients.items()}
    assert codes["right"] == 0, printed["right"]
    assert "1 node" in printed["right"]
    for name in ("wrong", "none"):
        assert codes[name] != 0, printed[name]
        assert "AuthenticationError" in printed[name]


@pytest.mark.slow
def test_sigterm_ends_a_search_as_ctrl_c_does(running, shared_place):
    """Last of those that look at the running search."""
    running.note_family()
    running.process.terminate()
    assert running.finish() == 130, running.output
    assert "-m search.run --resume pairs-1" in running.output
    assert "Traceback" not in running.output
    with shared_place.store() as store:
        assert store.search("pairs-1").status == "interrupted"
        assert {row.status for row in store.trials("pairs-1")} == {"interrupted"}
    shared_place.wait_until_gone(30)
