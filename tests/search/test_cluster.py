"""Looking at a cluster before joining it: what is refused without Ray, in one sentence and at once."""

import json
import socket
import threading
from pathlib import Path

import pytest

from results.errors import InputError
from search.cluster import Cluster, Node, look_at, require_same_versions
from search.measured import at_once
from search.places import to_be_shared, trials_base
from search.resources import plan_resources
from search.shipping import CODE, Shipped, stage_code
from trainer import packed
from trainer.dataset import read_header

NOTHING = {"concurrency": None, "cpus_per_trial": None, "gpus_per_trial": None, "threads": None}


def node(name, cpus, gpus=0):
    return Node(id=name * 8, address=f"10.0.0.{ord(name)}", name=name, cpus=cpus, gpus=gpus)


def cluster(*nodes):
    return Cluster(address="10.0.0.1:6379", nodes=nodes, here=nodes[0])


@pytest.fixture
def token(monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7" * 64)


@pytest.mark.parametrize("address", ["", "localhost", "10.0.0.1:", "10.0.0.1:70000", "ray://10.0.0.1:10001", "a b:1"])
def test_what_is_no_address_is_refused(address, token):
    with pytest.raises(InputError, match='"--address" must be host:port or auto'):
        look_at(address)


def test_a_dead_address_and_one_of_another_service_are_refused(token):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(InputError, match=f"No Ray cluster answers at 127.0.0.1:{port}"):
            look_at(f"127.0.0.1:{port}")
    with pytest.raises(InputError, match=f"No Ray cluster answers at 127.0.0.1:{port}"):
        look_at(f"127.0.0.1:{port}")


def test_without_a_token_no_cluster_is_asked(token, monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    for content in (None, "", b"\xff\xfe"):
        path = tmp_path / "token"
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        with pytest.raises(InputError, match="entered with its token, but there is none in"):
            look_at("127.0.0.1:1")


@pytest.mark.parametrize(
    ("ray_there", "python_there"), [("2.44.0", None), (None, "3.9.19"), ("3.0.0", "3.13.0"), ("", "")]
)
def test_another_ray_or_python_is_refused_with_both_versions(ray_there, python_there):
    from importlib.metadata import version
    from platform import python_version

    same = {"ray_version": version("ray"), "python_version": python_version()}
    require_same_versions(json.loads(json.dumps(same)), "h:1")
    given = {"ray_version": ray_there, "python_version": python_there}
    other = {**same, **{name: value for name, value in given.items() if value is not None}}
    with pytest.raises(InputError, match=f"Ray {version('ray')} and Python {python_version()}, but it runs") as refused:
        require_same_versions(other, "h:1")
    assert f"Ray {other['ray_version']} and Python {other['python_version']}" in str(refused.value)


def test_slots_are_counted_node_by_node():
    four_and_two = cluster(node("a", 0), node("b", 4), node("c", 2))
    assert plan_resources(**NOTHING, cluster=four_and_two).concurrency == 6
    plan = plan_resources(**{**NOTHING, "concurrency": 2}, cluster=four_and_two)
    assert plan.cpus_per_trial == 2, "three each would leave the second without a place: 4 = 3 + 1, 2 < 3"
    assert (plan.cpus, plan.concurrency, plan.cluster) == (6, 2, four_and_two)
    with pytest.raises(InputError, match=r"nodes of 10.0.0.1:6379 has room for \(1 trials"):
        plan_resources(**{**NOTHING, "concurrency": 2, "cpus_per_trial": 3.0}, cluster=four_and_two)
    with pytest.raises(InputError, match=r"the CPUs of one of the nodes of 10.0.0.1:6379 \(4\)"):
        plan_resources(**{**NOTHING, "cpus_per_trial": 5.0}, cluster=four_and_two)


def test_gpus_of_other_nodes_count_where_the_driver_has_none():
    plan = plan_resources(**NOTHING, cluster=cluster(node("a", 4), node("b", 16, 2), node("c", 16, 1)))
    assert (plan.gpus, plan.gpus_per_trial, plan.concurrency) == (3, 1.0, 3)


@pytest.mark.parametrize(
    ("gpus", "wishes", "share", "concurrency", "on_a_card"),
    [
        (2, {"concurrency": 3}, 0.5, 3, 2),
        (2, {"concurrency": 1}, 1.0, 1, 1),
        (3, {"concurrency": 7}, 1 / 3, 7, 3),
        (1, {"concurrency": 6}, 1 / 6, 6, 6),
        (2, {"gpus_per_trial": 0.6}, 0.6, 2, 1),
        (2, {"gpus_per_trial": 0.3}, 0.3, 6, 3),
        (2, {"gpus_per_trial": 0.2}, 0.2, 10, 5),
    ],
)
def test_a_share_lies_on_one_card(gpus, wishes, share, concurrency, on_a_card):
    machine = cluster(node("a", 64, gpus))
    plan = plan_resources(**{**NOTHING, **wishes}, cluster=machine)
    assert (plan.gpus_per_trial, plan.concurrency, at_once(plan, 99)) == (share, concurrency, on_a_card)
    room = gpus * on_a_card
    with pytest.raises(InputError, match=f"has room for .{room} trials at"):
        plan_resources(**{**NOTHING, "gpus_per_trial": share, "concurrency": room + 1}, cluster=machine)


def test_trials_lie_beside_the_database_or_in_a_folder_that_exists(tmp_path):
    (tmp_path / "shared").mkdir()
    assert trials_base(None, f"sqlite:///{tmp_path}/runs/arbor.db") == tmp_path / "runs"
    assert trials_base(str(tmp_path / "shared"), "sqlite:///x.db") == tmp_path / "shared"
    assert to_be_shared(tmp_path / "runs") == {tmp_path}, "runs/ is made later"
    for given, sentence in (
        ("s3://bucket/runs", "but got the URL 's3://bucket/runs'; mount the object store"),
        (str(tmp_path / "none"), "must be a folder that exists"),
        ("", "must be a folder that exists"),
    ):
        with pytest.raises(InputError, match=sentence):
            trials_base(given, "sqlite:///x.db")


def shipped(header, **changes):
    values = {
        "name": header.name, "checksum": header.checksum, "origin": "/nowhere.safetensors", "images": (),
        "variants": (), "code": {},
    }  # fmt: skip
    return Shipped(**{**values, **changes})


def test_data_that_a_node_has_are_used_whatever_lies_under_their_name(digits, tmp_path, monkeypatch):
    header = read_header("digits")
    own = digits.path
    assert shipped(header, origin=str(own)).dataset_path() == str(own), "a path that the nodes share"
    assert shipped(header).dataset_path() == str(own), "its own folder"
    monkeypatch.setenv("ARBOR_DATA", str(tmp_path))
    kept = tmp_path / f"digits-{header.checksum[:16]}.safetensors"
    packed.put_atomically(kept, own.read_bytes())
    (tmp_path / "digits.safetensors").write_bytes(own.read_bytes()[:-9])  # somebody's own, and damaged
    assert shipped(header).dataset_path() == str(kept)
    assert (tmp_path / "digits.safetensors").stat().st_size == own.stat().st_size - 9


def test_variants_arrive_as_they_were_and_two_versions_beside_each_other(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("ARBOR_DATA", str(tmp_path))
    header = read_header("digits")
    one = shipped(header, variants=(("", (("mine.py", b"x = 1"),)), ("kinds", (("a.py", b"1"), ("_b.py", b"2")))))
    file, folder = one.variant_paths()
    assert (Path(file).read_bytes(), Path(file).name) == (b"x = 1", "mine.py")
    assert one.variant_paths() == [file, folder]
    assert Path(folder).name == "kinds"
    (other,) = shipped(header, variants=(("", (("mine.py", b"x = 2"),)),)).variant_paths()
    assert Path(file).read_bytes() == b"x = 1"
    assert Path(other).read_bytes() == b"x = 2"


def test_the_code_that_is_sent_is_what_a_worker_imports(tmp_path):
    stage_code(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(CODE)
    assert (tmp_path / "arch_space/ffn/fff.py").is_file()
    assert not list(tmp_path.rglob("__pycache__"))
