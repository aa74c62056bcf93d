"""A Ray cluster of several nodes on loopback addresses, started by the files of docs/cluster as docs/cluster.md says."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from search.cluster import Control

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "docs" / "cluster"
LIMIT_SECONDS = 120


class Raylets:
    """Nodes by their address, each a process group of its own; the head has no CPU, so that it trains nothing.

    Use as a context; leaves no process behind.
    """

    def __init__(self, ports: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="arb"))  # sockets' paths must be short
        self.ports, self.head = ports, "127.0.0.2"
        self.address = f"{self.head}:{ports}"
        self.token_file = self.folder / "token"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ARBOR_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "OMP_NUM_THREADS": "1",
            "ARBOR_DATA": str(self.folder / "data"),
            # a silent node is lost after 9 s, not 15
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "3",
        }
        (self.folder / "data").mkdir()
        self._processes: dict[str, subprocess.Popen] = {}
        self._family: dict[int, psutil.Process] = {}

    def __enter__(self) -> "Raylets":
        try:
            command = ["bash", str(SCRIPTS / "head.sh"), self.head, "--num-cpus=0", f"--temp-dir={self.folder}/ray"]
            self._start(self.head, command, self.ports)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for address in list(self._processes):
            self.family(address)
        for process in self._family.values():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self._processes.values():
            process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def token(self) -> str:
        return self.token_file.read_text()

    def add(self, address: str, *, cpus: int = 1, hidden: tuple[Path, ...] = (), **environment: str) -> None:
        """A node; it sees empty folders instead of those in `hidden` (root alone can do that)."""
        command = ["bash", str(SCRIPTS / "node.sh"), self.address, address, f"--num-cpus={cpus}"]
        if hidden:
            hide = "".join(f"mount -t tmpfs tmpfs '{folder}'; " for folder in hidden)
            command = ["unshare", "--mount", "bash", "-c", f'{hide}exec "$@"', "bash", *command]
        self._start(address, command, self.ports + 1000 * int(address.rpartition(".")[2]), **environment)

    def _start(self, address: str, command: list[str], ports: int, **environment: str) -> None:
        log = self.folder / f"{address}.log"
        with log.open("w") as file:
            self._processes[address] = subprocess.Popen(
                [*command, "--block"], cwd=self.folder, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={**self.environment, "ARBOR_PORTS": str(ports), **environment},
            )  # fmt: skip
        deadline = time.monotonic() + LIMIT_SECONDS
        while address not in self.living():
            assert self._processes[address].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        self.family(address)

    def living(self) -> set[str]:
        """Addresses of the nodes that the head counts."""
        if not self.token_file.exists():
            return set()
        control = Control(self.address, self.token)
        return {node.address for node in control.nodes()} if control.answers() else set()

    def family(self, address: str) -> list[psutil.Process]:
        """All processes of a node, its workers too."""
        try:
            first = psutil.Process(self._processes[address].pid)
            found = [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            found = []
        self._family.update({process.pid: process for process in found})
        return found

    def all_processes(self) -> list[psutil.Process]:
        return [process for address in self._processes for process in self.family(address)]

    def signal(self, address: str, number: int) -> None:
        """To all processes of a node at once, as when its machine is cut off or comes back."""
        for process in self.family(address):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill_raylet(self, address: str) -> None:
        """kill -9 of the node's raylet alone."""
        for process in self.family(address):
            if process.name() == "raylet":
                process.send_signal(signal.SIGKILL)


def free_ports() -> int:
    """The first of some thousands of ports that other tests do not use: below those that Linux gives out by itself."""
    return 11000 + 100 * secrets.randbelow(40)
