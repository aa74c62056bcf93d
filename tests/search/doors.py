"""Every door of a running Ray: which sockets a set of processes listens on, and whom they let in."""

import http.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import psutil

EVERYWHERE = {"0.0.0.0", "::"}  # addresses to look for, not to bind to
METHODS = (
    "NodeInfoGcsService/CheckAlive",
    "NodeManagerService/GetSystemConfig",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",
    "ReporterService/HealthCheck",
    "RayletDriver/ClusterInfo",
)
"""One of each of Ray's services; a port that knows none of them speaks HTTP, or is unknown to this test."""


@dataclass(frozen=True)
class Door:
    """A listening TCP socket."""

    process: str
    address: str
    port: int

    @property
    def host(self) -> str:
        """An address at which it is reached from here."""
        return "127.0.0.1" if self.address in EVERYWHERE else self.address.replace("::ffff:", "")

    @property
    def is_open_to_others(self) -> bool:
        return not self.host.startswith("127.") or self.address in EVERYWHERE


def doors_of(processes: list[psutil.Process]) -> list[Door]:
    found = set()
    for process in processes:
        try:
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(Door(process.name(), connection.laddr.ip, connection.laddr.port))
        except psutil.NoSuchProcess:
            continue
    return sorted(found, key=lambda door: door.port)


def ask(door: Door, method: str, token: str | None) -> str:
    """The name of the status with which gRPC answers an empty request."""
    with grpc.insecure_channel(f"{door.host}:{door.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            f"/ray.rpc.{method}", request_serializer=lambda x: x, response_deserializer=lambda x: x
        )
        try:
            call(b"", timeout=10, metadata=[("authorization", f"Bearer {token}")] if token else [])
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def get(door: Door, path: str, token: str | None) -> tuple[int, bytes]:
    """Status and content of an HTTP request; status 0 where no HTTP is spoken."""
    connection = http.client.HTTPConnection(door.host, door.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def kinds_of(doors: list[Door], token: str) -> dict[Door, str]:
    """`kind_of` each, asked at once: a silent one takes its time."""
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(doors, pool.map(lambda door: kind_of(door, token), doors), strict=True))


def kind_of(door: Door, token: str) -> str:
    """How a door treats those without its token: `guarded`, `metrics` (open to all, and says numbers), `link`, `silent`, or
    what is wrong.

    Guarded means that the right token is heard, and that a missing and a wrong one are refused; `link`, that it knows
    nothing but a secret address, as our page that logs in to the dashboard; `silent`, that it answers neither gRPC nor HTTP,
    as the sockets on which a gloo group waits for its other workers.
    """
    wrong, heard = "0" * 64, ""
    for method in METHODS:
        heard = ask(door, method, token)
        if heard in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            break  # no gRPC
        if heard == "UNIMPLEMENTED":
            continue
        refused = {ask(door, method, None), ask(door, method, wrong)}
        if heard == "UNAUTHENTICATED" or refused != {"UNAUTHENTICATED"}:
            return f"{method}: {heard} with the token, {sorted(refused)} without"
        return "guarded"
    status, content = get(door, "/metrics", None)
    if heard == "DEADLINE_EXCEEDED" and status == 0:
        return "silent"
    if status == 200 and content.startswith(b"# HELP"):
        return "metrics"
    refused_http = {status, get(door, "/metrics", wrong)[0]}
    heard_http = get(door, "/metrics", token)[0]
    if refused_http == {401, 403} and heard_http not in (0, 401, 403):
        return "guarded"
    if refused_http == {heard_http} == {404}:
        return "link"
    return f"HTTP {heard_http} with the token, {sorted(refused_http)} without"
