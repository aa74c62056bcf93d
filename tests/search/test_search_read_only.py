"""A search in a folder that nothing can be written to is refused with one sentence, before Ray."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def read_only(tmp_path, mount):
    """A folder on a disk that is mounted for reading alone, since nothing else stops root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    mount(folder, "ro")
    yield folder


def test_a_search_in_a_read_only_folder_is_refused_with_a_sentence(digits, read_only):
    command = [sys.executable, "-m", "search.run", "quickstart", "--no-dashboard"]
    done = subprocess.run(command, cwd=read_only, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "runs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(read_only.iterdir())
