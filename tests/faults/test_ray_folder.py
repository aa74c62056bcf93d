"""Where a search's Ray keeps its files, and what becomes of them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from search.ray_folder import LOCK, PREFIX, ray_folder, remove_abandoned

OWNER = (
    "from search.ray_folder import ray_folder\nimport time\n"
    "with ray_folder() as f:\n    (f / 'log').touch()\n    print(f, flush=True)\n    time.sleep(60)"
)


@pytest.fixture
def base(monkeypatch):
    """A temporary folder with a path as short as Ray's sockets need."""
    folder = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def owner(base):
    """A process that has a folder, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], env={**os.environ, "TMPDIR": str(base)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_it_is_there_for_this_user_alone_and_goes_with_the_search(base):
    with ray_folder() as folder:
        assert folder.parent == base
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "session" / "logs").mkdir(parents=True)
    assert list(base.iterdir()) == []


@pytest.mark.parametrize(("error", "stays"), [(KeyboardInterrupt, False), (OSError, False), (RuntimeError, True)])
def test_after_an_exception_its_logs_stay_until_the_next_search(base, error, stays):
    with pytest.raises(error), ray_folder():
        raise error
    assert bool(list(base.iterdir())) == stays
    remove_abandoned()
    assert list(base.iterdir()) == []


def test_that_of_a_killed_driver_goes_with_the_next_and_that_of_a_living_one_stays(base, owner):
    process, folder = owner
    with ray_folder() as mine:
        assert (folder / "log").exists()
        assert mine != folder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "log").exists()
    with ray_folder():
        assert not folder.exists()


def test_with_it_go_the_processes_of_its_ray_but_no_reader_of_its_logs(base, owner):
    process, folder = owner
    agent, other, reader = (
        subprocess.Popen(["bash", "-c", f"exec -a {title} sleep 60 3< {path}"])
        for title, path in (("ray::Agent", folder / "log"), ("ray::Agent", os.devnull), ("less", folder / "log"))
    )
    try:
        time.sleep(1)  # until they have their titles, and the log open
        remove_abandoned()
        assert agent.poll() is None, "its driver lives"
        process.kill()
        process.wait()
        remove_abandoned()
        agent.wait(1)  # which psutil has done, so the signal is not known
        assert other.poll() is None, "of another Ray"
        assert reader.poll() is None, "a person's"
        assert not folder.exists()
    finally:
        for each in (agent, other, reader):
            each.kill()
            each.wait()


def test_other_folders_stay(base):
    (base / "ray").mkdir()
    (base / f"{PREFIX}new").mkdir()  # being made by another process: it has no lock yet
    (base / f"{PREFIX}link").symlink_to(base / "ray")
    remove_abandoned()
    assert sorted(path.name for path in base.iterdir()) == [f"{PREFIX}link", f"{PREFIX}new", "ray"]
    os.utime(base / f"{PREFIX}new", (0, 0))
    remove_abandoned()
    assert not (base / f"{PREFIX}new").exists()


def test_a_temporary_folder_with_a_long_path_is_not_used(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with ray_folder() as folder:
        assert folder.parent == Path("/tmp")
        assert (folder / LOCK).exists()
    assert not folder.exists()
