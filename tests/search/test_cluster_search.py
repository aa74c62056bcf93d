"""Searches on a cluster of several nodes on loopback, started by the files of docs/cluster: what a node lacks is sent, doors
ask for the token, and a node that is cut off or killed costs nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from results.errors import InputError
from search.cluster import look_at
from search.shipping import CODE
from trainer import checkpoint, packed
from trainer.lease import FILE

sys.path.insert(0, str(Path(__file__).parent))
from doors import doors_of, kinds_of
from raylets import REPOSITORY, Raylets, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NEAR, FAR, SPARE, LAST = "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"
OWN_KIND = '''\
"""A kind of the user's own, which the repository does not have."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from arch_space.registry import FFN


@FFN.register("straight")
@dataclass(frozen=True, kw_only=True, slots=True)
class StraightConfig:
    """One linear layer."""

    widths: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def suggest(cls, scope):
        return cls()

    def build(self, dim, dropout):
        return nn.Linear(dim, dim)

    def parameters(self, dim):
        return dim * dim + dim

    def neurons_used(self, dim):
        return dim

    def macs(self, dim, tokens):
        return tokens * dim * dim

    macs_conditional = macs
'''
OWN = '''\
from search.experiment import Experiment


def own() -> Experiment:
    """Is a straight line enough?"""
    base = {"data": "digits", "epochs": 20, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1}
    return Experiment(base=base, grid=[{"ffn": "mlp", "ffn.mlp.hidden": 8}, {"ffn": "straight"}], threads=1)
'''


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder that all nodes share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def far_data(tmp_path_factory):
    """The far node's own folder of data sets."""
    return tmp_path_factory.mktemp("far")


@pytest.fixture(scope="module")
def raylets(shared_place, far_data, data_folder):
    """A head and two nodes with one CPU each. The far one sees neither our code, nor our data, nor the user's folder."""
    hidden = [*code_folders(), shared_place.folder, data_folder] if os.geteuid() == 0 else []
    with Raylets(free_ports()) as cluster:
        cluster.add(NEAR)
        cluster.add(FAR, hidden=tuple(hidden), ARBOR_DATA=str(far_data), PYTHONPATH="")
        yield cluster


def code_folders():
    """Where a node of this machine would find our packages: in the repository, and where it is installed."""
    look = f"import importlib.util as u; print(*(u.find_spec(name).submodule_search_locations[0] for name in {CODE}))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-c", look], cwd="/", env=environment, capture_output=True, text=True, check=True
    )
    return {Path(folder).resolve() for folder in (*said.stdout.split(), *(REPOSITORY / name for name in CODE))}


def arguments(raylets, shared, *more):
    return ("--address", raylets.address, "--checkpoints", str(shared), "--concurrency", "2", *more)


def start(place, raylets, *command):
    return place.start("search.run", *command, RAY_AUTH_TOKEN_PATH=str(raylets.token_file))


def living_actors(raylets):
    """Actors of any job that are not dead, as the control service has them."""
    import grpc

    messages = import_module("ray.core.generated.gcs_service_pb2")
    with grpc.insecure_channel(raylets.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            "/ray.rpc.ActorInfoGcsService/GetAllActorInfo",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.GetAllActorInfoReply.FromString,
        )
        credentials = [("authorization", f"Bearer {raylets.token}")]
        reply = call(messages.GetAllActorInfoRequest(), timeout=10, metadata=credentials)
    dead = 4
    return [actor.class_name for actor in reply.actor_table_data if actor.state != dead]


def wait_until(condition, what, limit=60):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_a_cluster_is_entered_by_its_token_alone(raylets, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(raylets.token_file))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    found = look_at(raylets.address)
    assert [(node.address, node.cpus) for node in found.nodes] == [("127.0.0.2", 0), (NEAR, 1), (FAR, 1)]
    assert [node.address for node in found.workers] == [NEAR, FAR]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(InputError, match="refuses this token; copy the head node's file"):
        look_at(raylets.address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(InputError, match="asks for a token, but RAY_AUTH_MODE=disabled sends none"):
        look_at(raylets.address)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from a node")
def test_a_folder_that_a_node_does_not_share_is_refused_before_anything_is_made(raylets, shared_place):
    search = start(shared_place, raylets, "pairs.py", "--address", raylets.address)
    assert search.finish() == 2, search.output
    assert f"the node {FAR}" in search.output
    assert f"does not share {shared_place.folder}; name a shared one in --checkpoints." in search.output
    assert not (shared_place.folder / "runs" / "arbor.db").exists()
    assert not list(shared_place.folder.glob(".shared-*"))


def test_data_code_and_the_users_own_kinds_reach_a_node_that_has_none(raylets, shared_place, shared, far_data, digits):
    place = shared_place
    place.write("own.py", OWN)
    (place.folder / "kinds").mkdir()
    kind = place.write("kinds/straight.py", OWN_KIND)
    search = start(place, raylets, "own.py", *arguments(raylets, shared, "--variants", str(kind)))
    assert search.finish() == 0, search.output
    assert f"on 2 nodes of the cluster at {raylets.address}" in search.output
    with place.store() as store:
        rows, provenance = store.trials("own-1"), store.search("own-1").provenance
    assert [row.status for row in rows] == ["finished", "finished"], [row.cause for row in rows]
    if os.geteuid() == 0:
        sent = far_data / f"digits-{digits.checksum[:16]}.safetensors"
        assert {row.provenance["data_path"] for row in rows} == {str(digits.path), str(sent)}
        assert packed.read_metadata(sent)["checksum"] == digits.checksum
        assert sent.read_bytes() == digits.path.read_bytes()
    for row in rows:
        assert row.provenance["git_commit"] == provenance["git_commit"]
        assert row.provenance["source_hash"] == provenance["source_hash"]
        folder = Path(row.provenance["folder"])
        assert folder.parent == shared / "own-1"
        assert {path.name for path in folder.iterdir()} == {"selected.pt", "predictions.npz", "tensorboard"}
    answer = place.run_json("trainer.evaluate", rows[1].id)
    assert (answer["loss"], answer["accuracy"]) == (rows[1].val_loss, rows[1].val_acc)
    assert raylets.living() == {"127.0.0.2", NEAR, FAR}, "the search has left the cluster running"
    wait_until(lambda: not living_actors(raylets), "an actor of the search is left")


@pytest.fixture(scope="module")
def running(raylets, shared_place, shared):
    """A search with a trial on each node, for as long as the tests look at it."""
    started = start(shared_place, raylets, "pairs.py", "--epochs", "20000", *arguments(raylets, shared))
    started.wait_for(r"pairs-1\.1 .*epoch 5/")
    started.wait_for(r"pairs-1\.2 .*epoch 5/")
    yield started
    if started.process.poll() is None:
        started.ctrl_c()
        started.finish()


def test_every_door_of_the_cluster_asks_for_the_token_but_for_those_that_say_numbers(running, raylets):
    """Heads, nodes, agents, workers and the driver. All that others can reach lies in the ports of one firewall line."""
    processes = raylets.all_processes() + running.note_family()
    doors = doors_of(processes)
    assert {"gcs_server", "raylet"} <= {door.process for door in doors}
    kinds = kinds_of(doors, raylets.token)
    assert set(kinds.values()) - {"link"} == {"guarded", "metrics", "silent"}, kinds
    assert {door.address for door, kind in kinds.items() if kind in ("link", "silent")} == {"127.0.0.1"}
    assert sum(kind == "metrics" for kind in kinds.values()) == 5, "two of the head's own, and one of each node"
    firsts = [raylets.ports, raylets.ports + 3000, raylets.ports + 4000]
    outside = [
        door for door in doors if door.host != "127.0.0.1" or door.is_open_to_others
        if not any(first <= door.port < first + 1000 for first in firsts)
    ]  # fmt: skip
    assert not outside
    dashboards = [door for door in doors if door.port == raylets.ports + 10]
    assert [door.address for door in dashboards] == ["127.0.0.1"]


def on(place, raylets, address):
    """The trial that a node trains, and its worker."""
    pids = {process.pid for process in raylets.family(address)}
    found = [(name, place.worker_of(name)) for name in ("pairs-1.1", "pairs-1.2")]
    return next((name, worker) for name, worker in found if worker.pid in pids)


def lost_after(running, name, times):
    """Wait until so many losses of a trial have been told; the epoch after which the last came."""
    running.wait_for(rf"{name}: .*; it starts again", times=times)
    return int(re.findall(rf"{name}: .* after epoch (\d+); it starts again", running.output)[-1])


def test_an_orphan_that_comes_back_changes_nothing_in_the_trial_that_went_on_elsewhere(running, raylets, shared_place):
    name, orphan = on(shared_place, raylets, FAR)
    with shared_place.store() as store:
        folder = Path(store.trial(name).provenance["folder"])
    raylets.signal(FAR, signal.SIGSTOP)
    epoch = lost_after(running, name, 1)
    raylets.add(SPARE)  # joins late, and is a free slot
    running.wait_for(rf"{name} .*epoch {epoch + 10}/")
    assert (folder / FILE).read_text() == "2"
    raylets.signal(FAR, signal.SIGCONT)
    wait_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE, "the orphan lives on")
    running.wait_for(rf"{name} .*epoch {epoch + 40}/")
    assert (folder / FILE).read_text() == "2"
    assert len(checkpoint.load(folder / checkpoint.LAST)["history"]) > epoch
    require_whole(shared_place, name)


def require_whole(place, name):
    with place.store() as store:
        row = store.trial(name)
        assert [epoch.epoch for epoch in store.epochs(name)] == list(range(1, row.epochs + 1))
    return row


@pytest.mark.long
def test_a_killed_raylet_costs_no_epoch_and_the_curve_is_that_of_an_undisturbed_training(
    running, raylets, shared_place, shared
):
    """Last of those that look at the running search."""
    address = SPARE if SPARE in raylets.living() else FAR  # which it has replaced, where the test before was run
    name, _ = on(shared_place, raylets, address)
    with shared_place.store() as store:
        attempts = store.trial(name).provenance["attempt"]
    raylets.kill_raylet(address)
    epoch = lost_after(running, name, attempts)
    raylets.add(LAST)
    free = time.monotonic()
    running.wait_for(rf"{name} .*epoch {epoch + 1}/", limit=60)
    print(f"first epoch {time.monotonic() - free:.1f} s after a slot was free")
    running.wait_for(rf"{name} .*epoch {epoch + 10}/", limit=60)
    running.ctrl_c()
    assert running.finish() == 130, running.output
    print(running.output)  # with the times, for `pytest -rP`
    assert "Traceback" not in running.output
    row = require_whole(shared_place, name)
    assert (row.status, row.provenance["attempt"]) == ("interrupted", attempts + 1)
    assert raylets.living() == {"127.0.0.2", NEAR, LAST}
    wait_until(lambda: not living_actors(raylets), "an actor of the search is left")
    printed = shared_place.run("trainer.replay", name, "--epochs", str(min(row.epochs, epoch + 5)))
    assert "Verdict: identical" in printed
