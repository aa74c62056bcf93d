"""A running Ray cluster, looked at from outside before anything joins it: is it there, is it guarded, does it fit.

Ray itself takes half a minute to give up on a dead address or a wrong token, and joins a cluster that asks for no token
without a word. So its control service is asked here by plain gRPC first, which answers or refuses in milliseconds.

    python -m search.cluster 10.0.0.1:6379             its nodes, or why it cannot be joined
"""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from results.cli import run
from results.errors import InputError
from results.text import plain

LIMIT_SECONDS = 10.0
"""So long a cluster may take to answer one question."""
CURRENT = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` notes the address of this machine's cluster, which `auto` means."""
_ALIVE = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A living node of a cluster."""

    id: str
    """In hexadecimal, as Ray's own tools print it."""
    address: str
    """The IP address by which other nodes reach it."""
    name: str
    """Its host's name."""
    cpus: int
    gpus: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A cluster that may be joined."""

    address: str
    """host:port of its control service."""
    nodes: tuple[Node, ...]
    here: Node
    """The node that runs on this machine: a driver is a process of one."""

    @property
    def workers(self) -> tuple[Node, ...]:
        """The nodes on which trials may train."""
        return tuple(node for node in self.nodes if node.cpus or node.gpus)


def look_at(address: str) -> Cluster:
    """The cluster at `address` (host:port, or `auto` for the one that this machine is part of).

    Raises:
        InputError: no address; nobody answers there; the token is missing or wrong, or the cluster asks for none; it runs
            another Ray or Python; this machine is no node of it, or it has nothing to train on.
    """
    address = _resolved(address)
    mode = os.environ.setdefault("RAY_AUTH_MODE", "token")
    token = read_token() if mode == "token" else None
    control = Control(address, token)
    control.require_alive()
    if token is not None and Control(address, None).answers():
        raise InputError(
            f"The cluster at {address} lets in anybody who reaches its ports; start it with RAY_AUTH_MODE=token and a token "
            "(docs/cluster.md), or set RAY_AUTH_MODE=disabled here if its network is yours alone."
        )
    require_same_versions(control.metadata(), address)
    nodes = control.nodes()
    here = _here(nodes, address)
    cluster = Cluster(address=address, nodes=nodes, here=here)
    if not cluster.workers:
        raise InputError(
            f"The cluster at {address} must have CPUs or GPUs to train on, but its {len(nodes)} nodes have none; start more."
        )
    return cluster


def read_token() -> str:
    """The token that clusters are entered with, from where Ray looks for it.

    Raises:
        InputError: there is none.
    """
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token:
        raise InputError(
            f"A cluster is entered with its token, but there is none in {path}; copy it from the head node (mode 600), "
            "or name it in RAY_AUTH_TOKEN_PATH."
        )
    return token


def require_same_versions(metadata: dict[str, str], address: str) -> None:
    """Ray talks only to its own version, and objects travel between equal Pythons.

    Raises:
        InputError: `metadata` of the cluster names other ones than this process has.
    """
    ray_there, python_there = str(metadata.get("ray_version")), str(metadata.get("python_version"))
    ray_here, python_here = version("ray"), platform.python_version()
    if ray_there != ray_here or python_there.split(".")[:2] != python_here.split(".")[:2]:
        raise InputError(
            f"The cluster at {address} must run this environment's Ray {ray_here} and Python {python_here}, but it runs "
            f"Ray {ray_there} and Python {python_there}; install the same on all nodes (constraints.txt)."
        )


def _resolved(address: str) -> str:
    if address == "auto":
        found = os.environ.get("RAY_ADDRESS") or (CURRENT.read_text().strip() if CURRENT.is_file() else "")
        if not found or found == "auto":
            raise InputError(
                '"--address auto" is the cluster that this machine is part of, but no `ray start` has noted one here; '
                "give its host:port."
            )
        address = found
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise InputError(f'"--address" must be host:port or auto, as in 10.0.0.1:6379, but got {address!r}.')
    return address


def _here(nodes: tuple[Node, ...], address: str) -> Node:
    own = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    found = [node for node in nodes if node.address in own or _is_loopback(node.address)]
    if not found:
        raise InputError(
            f"The search must be started on a node of its cluster, but this machine is none of {address} (it has "
            f"{', '.join(sorted(node.address for node in nodes))}); use one, or run `ray start --address={address}` here."
        )
    head = address.rpartition(":")[0]
    return next((node for node in found if node.address == head), found[0])


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False


def _messages() -> Any:
    """Ray's own message types of the control service, which come without types that mypy could read."""
    return import_module("ray.core.generated.gcs_service_pb2")


class Control:
    """Questions to a cluster's control service (GCS)."""

    def __init__(self, address: str, token: str | None) -> None:
        self._address, self._token = address, token

    def require_alive(self) -> None:
        """Raises InputError where nobody answers, or where the token is refused."""
        import grpc

        refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
        try:
            self._alive()
        except grpc.RpcError as error:
            if error.code() in refused and self._token is None:
                raise InputError(
                    f"The cluster at {self._address} asks for a token, but RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']} "
                    "sends none; unset that, and put the cluster's token into ~/.ray/auth_token."
                ) from None
            if error.code() in refused:
                raise InputError(
                    f"The cluster at {self._address} refuses this token; copy the head node's file to ~/.ray/auth_token, or "
                    "name it in RAY_AUTH_TOKEN_PATH."
                ) from None
            raise InputError(
                f"No Ray cluster answers at {self._address} ({error.code().name.lower()}); see there with `ray status`, or "
                "start it (docs/cluster.md)."
            ) from None

    def answers(self) -> bool:
        """Whether it lets this token in."""
        import grpc

        try:
            self._alive()
        except grpc.RpcError:
            return False
        return True

    def metadata(self) -> dict[str, str]:
        """What the head wrote about itself: `ray_version`, `python_version`."""
        messages = _messages()
        reply = self._ask(
            "InternalKVGcsService/InternalKVGet",
            messages.InternalKVGetRequest(key=b"CLUSTER_METADATA", namespace=b"cluster"),
            messages.InternalKVGetReply,
        )
        return dict(json.loads(reply.value or b"{}"))

    def nodes(self) -> tuple[Node, ...]:
        """All nodes that live, the head first."""
        messages = _messages()
        reply = self._ask(
            "NodeInfoGcsService/GetAllNodeInfo", messages.GetAllNodeInfoRequest(), messages.GetAllNodeInfoReply
        )
        living = sorted(
            (info for info in reply.node_info_list if info.state == _ALIVE),
            key=lambda info: (not info.is_head_node, info.node_manager_address),
        )
        return tuple(
            Node(
                id=info.node_id.hex(),
                address=info.node_manager_address,
                name=info.node_manager_hostname,
                cpus=int(info.resources_total.get("CPU", 0)),
                gpus=int(info.resources_total.get("GPU", 0)),
            )
            for info in living
        )

    def _alive(self) -> None:
        messages = _messages()
        self._ask("NodeInfoGcsService/CheckAlive", messages.CheckAliveRequest(), messages.CheckAliveReply)

    def _ask(self, method: str, request: Any, reply: Any) -> Any:
        import grpc

        with grpc.insecure_channel(self._address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            call = channel.unary_unary(
                f"/ray.rpc.{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=reply.FromString,
            )
            credentials = [] if self._token is None else [("authorization", f"Bearer {self._token}")]
            return call(request, timeout=LIMIT_SECONDS, metadata=credentials)


EXAMPLES = """\
The nodes of a running Ray cluster, or why a search could not join it.

Examples:

  python -m search.cluster

  python -m search.cluster 10.0.0.4:6379 --nodes 2
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    address: Annotated[str, typer.Argument(help="host:port of its head, or auto.")] = "auto",
    nodes: Annotated[int | None, typer.Option(help="Exit with 1 where it has fewer nodes than these.")] = None,
) -> None:
    """Print the nodes; exit 1 where there are fewer than asked for."""
    found = look_at(address)
    for node in found.nodes:
        here = "  (this machine)" if node == found.here else ""
        typer.echo(plain(f"{node.address}  {node.cpus} CPUs  {node.gpus} GPUs  {node.name}{here}"))
    if nodes is not None and len(found.nodes) < nodes:
        raise typer.Exit(1)


if __name__ == "__main__":
    run(app, "python -m search.cluster")
