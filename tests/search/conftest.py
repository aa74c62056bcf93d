"""A folder in which searches run as a person runs them: real commands, real processes, a storage of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import psutil
import pytest

from results.store import Store

GONE_LIMIT_SECONDS = 150
"""Ray's agents may outlive a driver that was killed by up to two minutes."""
MARK = "ARBOR_TEST_MARK"

TINY = {"data": "digits", "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1}
SEARCH = f'''\
from search.experiment import Experiment
from search.space import suggest_ffn


def tiny() -> Experiment:
    """Which of some tiny models reads digits best?"""
    return Experiment(
        base={{**{TINY}, "epochs": 4}},
        space=space,
        ranges={{"ffn.mlp.hidden": (8, 64), "ffn.fff.depth": (1, 3), "ffn.fff.trees": (1, 2)}},
        trials=6,
        grace=1,
        reduction=2,
        threads=1,
    )


def space(scope):
    return {{**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-4, 1e-2, log=True)}}
'''
COMPARISON = f'''\
from search.experiment import Experiment


def pairs() -> Experiment:
    """Do two tiny models differ?"""
    grid = [{{"ffn": "mlp", "ffn.mlp.hidden": 8}}, {{"ffn": "fff", "ffn.fff.depth": 2}}]
    return Experiment(base={{**{TINY}, "epochs": 40}}, grid=grid, threads=1)
'''


class Started:
    """A command that runs, in a session of its own as in a terminal, with what it printed so far."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.pid = self.process.pid
        self.family: dict[int, psutil.Process] = {}
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._lines.append("")  # the end
            self._news.notify_all()

    @property
    def output(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: str, times: int = 1, limit: float = 120) -> None:
        """Return once so many lines match, and note the processes of that moment."""
        deadline = time.monotonic() + limit
        with self._news:
            while sum(bool(re.search(pattern, line)) for line in self._lines) < times:
                ended = bool(self._lines) and not self._lines[-1]
                if ended or not self._news.wait(deadline - time.monotonic()):
                    pytest.fail(f"{pattern!r} did not come {times} times; printed:\n{''.join(self._lines)}")
        self.note_family()

    def note_family(self) -> list[psutil.Process]:
        """The driver and all processes under it now; kept, to be looked for when it should be gone."""
        try:
            driver = psutil.Process(self.pid)
            now = [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            now = []
        self.family.update({process.pid: process for process in now})
        return now

    def ctrl_c(self) -> None:
        """To the driver and to all in its process group, as a terminal does."""
        self.note_family()
        os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of the driver alone."""
        self.note_family()
        self.process.kill()
        self.finish()

    def finish(self, limit: float = 200) -> int:
        """Wait for the end; the exit code."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command did not end within {limit} s; printed:\n{self.output}")
        self._reader.join(10)
        return code


class Place:
    """A folder with experiments, its storage, and the commands started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        self._started: list[Started] = []
        self.write("tiny.py", SEARCH)
        self.write("pairs.py", COMPARISON)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, module: str, *arguments: str, **environment: str) -> Started:
        """`python -m module arguments`; a search comes without Ray's dashboard, which takes seconds to start."""
        extra = ("--no-dashboard",) if module == "search.run" and "--dashboard" not in arguments else ()
        started = Started(
            [sys.executable, "-m", module, *arguments, *extra],
            self.folder,
            {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", MARK: self.mark, **environment},
        )
        self._started.append(started)
        return started

    def run(self, module: str, *arguments: str, code: int = 0) -> str:
        """Run a command to its end, require its exit code, and give what it printed."""
        started = self.start(module, *arguments)
        got = started.finish()
        assert got == code, started.output
        return started.output

    def run_json(self, module: str, *arguments: str) -> dict:
        """The answer of a command that prints JSON; what a library says on stderr comes before it."""
        return json.loads(self.run(module, *arguments, "--json").splitlines()[-1])

    def ray_token(self) -> str:
        """What Ray's dashboard asks for, as its own command prints it."""
        ray = Path(sys.executable).with_name("ray")
        return subprocess.run([ray, "get-auth-token"], capture_output=True, text=True, check=True).stdout.strip()

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.folder}/runs/arbor.db", create=False)

    def worker_of(self, trial_id: str) -> psutil.Process:
        """The process that trains a trial: TensorBoard's files have its id in their names."""
        with self.store() as store:
            folder = Path(store.trial(trial_id).provenance["folder"])
        files = sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime)
        return psutil.Process(int(files[-1].name.split(".")[-2]))

    def left(self) -> list[psutil.Process]:
        """Processes of all commands of this place which still live."""
        known = {pid: process for started in self._started for pid, process in started.family.items()}
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark:
                    known[process.pid] = process
            except psutil.Error:  # gone, or another user's
                continue
        return [process for process in known.values() if _lives(process)]

    def wait_until_gone(self, limit: float = GONE_LIMIT_SECONDS) -> None:
        deadline = time.monotonic() + limit
        while left := self.left():
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.5)

    def close(self) -> None:
        """Leave nothing behind, also where a test failed in the middle."""
        for process in self.left():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def place(tmp_path, digits):
    """A place of one test; the digits are packed already."""
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory, digits):
    """A place that the tests of a file share."""
    place = Place(tmp_path_factory.mktemp("place"))
    yield place
    place.close()
