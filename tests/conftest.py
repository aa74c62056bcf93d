"""Fixtures that several folders share."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from arch_space.ffn.mlp import MLPConfig
from arch_space.registry import FFN
from trainer.dataset import Dataset, load_dataset

# on a machine with other work a test may take any time: how fast things are, benchmarks/ says
settings.register_profile("arbor", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("arbor")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's own folder of packed data sets, which ARBOR_DATA names, for started processes too."""
    folder = tmp_path_factory.mktemp("data")
    os.environ["ARBOR_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def digits(data_folder: Path) -> Dataset:
    """The embedded data set, packed once a session."""
    return load_dataset("digits")


@pytest.fixture
def miscounted() -> Iterator[str]:
    """The name of a feed-forward kind whose formula says 3 parameters, whatever its module has."""

    @FFN.register("miscounted")
    @dataclass(frozen=True, kw_only=True, slots=True)
    class MiscountedConfig(MLPConfig):
        def parameters(self, dim: int) -> int:
            return 3

    yield "miscounted"
    del FFN._configs["miscounted"]


@pytest.fixture(scope="session")
def cifar10_zip() -> Path:
    """The real images; skips where the file is absent."""
    path = Path(os.environ.get("ARBOR_CIFAR10_ZIP", REPOSITORY.parent / "shared" / "datasets" / "cifar10.zip"))
    if not path.is_file():
        pytest.skip(f"CIFAR-10 is not at {path}; name its zip in ARBOR_CIFAR10_ZIP")
    return path


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of the session's own, on a socket alone, that a test may take down and bring back."""

    folder: Path
    programs: Path

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://arbor@/postgres?host={self.folder}"

    def run(self, program: str, *arguments: str) -> None:
        """initdb refuses root, so root runs it as the user `postgres`, whom Debian's package makes."""
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_user, str(self.programs / program), "-D", str(self.folder / "data"), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        settings = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", settings, "start")

    def stop(self, how: str = "fast") -> None:
        """`fast` ends all connections and writes everything out, `immediate` is as if the process had been killed."""
        self.run("pg_ctl", "-w", "-m", how, "stop")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Skips where PostgreSQL is not installed. Who stops it starts it again."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    server = Server(Path(tempfile.mkdtemp(prefix="pg")), found[-1].parent)  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(server.folder, "postgres")
    server.run("initdb", "-U", "arbor", "--auth=trust", "--no-sync")
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(postgres_server: Server) -> str:
    """The URL of the session's PostgreSQL server."""
    return postgres_server.url


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], None]]:
    """Puts a small file system on a folder, made with mount's options, for the test; skips where that is not allowed."""
    folders: list[Path] = []

    def on(folder: Path, options: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        folders.append(folder)

    yield on
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


@pytest.fixture
def fresh_python() -> Callable[..., str]:
    """What `python ARGUMENTS...` prints in the repository: a process that has imported nothing before, and must end well."""

    def output(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return output
