"""Clusters that are there but cannot be joined, by a control service that answers as one would, over real gRPC."""

import json
import platform
from concurrent import futures
from importlib import import_module
from importlib.metadata import version

import grpc
import pytest

from results.errors import InputError
from search.cluster import look_at

TOKEN = "7" * 64


class Service(grpc.GenericRpcHandler):
    """Answers the questions that `look_at` asks; with `token`, only to those who know it."""

    def __init__(self, *, token=TOKEN, ray=None, python=None, nodes=(("127.0.0.1", 4),)):
        self.messages = import_module("ray.core.generated.gcs_service_pb2")
        self.token, self.nodes = token, nodes
        self.metadata = {"ray_version": ray or version("ray"), "python_version": python or platform.python_version()}

    def service(self, details):
        def answer(request, context):
            given = dict(details.invocation_metadata).get("authorization")
            if self.token is not None and given != f"Bearer {self.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
            return getattr(self, details.method.rpartition("/")[2])().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    def CheckAlive(self):  # noqa: N802  # Ray's names
        return self.messages.CheckAliveReply()

    def InternalKVGet(self):  # noqa: N802
        return self.messages.InternalKVGetReply(value=json.dumps(self.metadata).encode())

    def GetAllNodeInfo(self):  # noqa: N802
        reply = self.messages.GetAllNodeInfoReply()
        for number, (address, cpus) in enumerate(self.nodes):
            node = reply.node_info_list.add(node_id=bytes([number]), node_manager_address=address)
            node.resources_total["CPU"] = cpus
        dead = reply.node_info_list.add(node_id=b"dead", node_manager_address="10.9.9.9", state=1)
        dead.resources_total["CPU"] = 64
        return reply


@pytest.fixture
def serve(monkeypatch):
    """Starts a service; its address."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    servers = []

    def start(**options):
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Service(**options)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None)


def test_dead_nodes_do_not_count_and_the_own_node_is_found(serve):
    found = look_at(serve(nodes=[("10.0.0.7", 8), ("127.0.0.1", 4)]))
    assert sorted((node.address, node.cpus) for node in found.nodes) == [("10.0.0.7", 8), ("127.0.0.1", 4)]
    assert found.here.address == "127.0.0.1"


def test_a_cluster_that_lets_in_anybody_is_refused_unless_told(serve, monkeypatch):
    address = serve(token=None)
    with pytest.raises(InputError, match="lets in anybody who reaches its ports; start it with RAY_AUTH_MODE=token"):
        look_at(address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert look_at(address).address == address


def test_another_version_is_refused(serve):
    with pytest.raises(InputError, match=r"must run this environment's Ray .* but it runs Ray 2\.44\.1 and Python"):
        look_at(serve(ray="2.44.1"))
    with pytest.raises(InputError, match=r"and Python 3\.9\.1; install the same on all nodes"):
        look_at(serve(python="3.9.1"))


def test_a_machine_that_is_no_node_of_the_cluster_is_refused(serve):
    with pytest.raises(
        InputError, match=r"must be started on a node of its cluster, but this machine is none of .*10\.0\.0\.7"
    ):
        look_at(serve(nodes=[("10.0.0.7", 8)]))


def test_a_cluster_without_a_place_to_train_on_is_refused(serve):
    with pytest.raises(InputError, match="must have CPUs or GPUs to train on, but its 1 nodes have none"):
        look_at(serve(nodes=[("127.0.0.1", 0)]))


def test_an_address_without_anybody_is_given_up_in_time(monkeypatch):
    """Behind a port that accepts and stays silent, as behind a firewall that drops."""
    import socket

    from search import cluster

    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.setattr(cluster, "LIMIT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match=f"No Ray cluster answers at {address} \\(deadline_exceeded\\)"):
            look_at(address)
