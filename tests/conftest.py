"""Fixtures that several folders share."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.dataset import Dataset, load_dataset

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


@pytest.fixture(scope="session")
def cifar10_zip() -> Path:
    """The real images; skips where the file is absent."""
    path = Path(os.environ.get("ARBOR_CIFAR10_ZIP", REPOSITORY.parent / "shared" / "datasets" / "cifar10.zip"))
    if not path.is_file():
        pytest.skip(f"CIFAR-10 is not at {path}; name its zip in ARBOR_CIFAR10_ZIP")
    return path


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of the session's own, on a socket alone; skips where PostgreSQL is not installed.

    initdb refuses root, so root runs it as the user `postgres`, whom Debian's package makes.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    programs = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    as_user = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*as_user, str(programs / program), "-D", str(folder / "data"), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
        )

    run("initdb", "-U", "arbor", "--auth=trust", "--no-sync")
    settings = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql+psycopg://arbor@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
