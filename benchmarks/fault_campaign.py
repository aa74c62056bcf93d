"""Kills a search's processes at random moments and resumes it each time, until it ends."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import re
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.fault_audit import (
    Committed,
    committed,
    differences,
    history_faults,
    left_files,
    left_on_the_machine,
    story,
)
from benchmarks.fault_processes import Driver, marked, shared_memory, target_of, targets, trainer_of
from results.errors import InputError
from results.store import ENDED, Store
from search.session import RETRIES

WEIGHTS = {"driver": 5, "trial worker": 3, "gang worker": 3, "raylet": 2, "gcs_server": 1}
"""How often each target is drawn, against the others."""
EARLY = 0.3
"""The part of the kills that come so and so long after a driver's start, whatever it does then: often before a report."""
EARLY_SECONDS = 12.0
MOST_REPORTS = 6
"""The other kills come after so many reports at most, counted from the last kill."""
SILENCE_SECONDS = 300.0
"""A search without a report, an exit or a kill for so long hangs."""
_LOOK_SECONDS = 0.1
_RESTARTED = re.compile(r"Ray's process \w+ died; starting Ray again")


class HangError(Exception):
    """A search made no step for `SILENCE_SECONDS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One process that was killed."""

    target: str
    search: str | None
    """None while the driver had not yet put its search into the store."""
    epochs: int
    """Reports in the store at that moment, of this search."""
    seconds: float
    """Since the start of the driver that lived then."""


@dataclass(kw_only=True)
class Outcome:
    """What happened, and what was wrong."""

    kills: list[Kill] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)
    resumes: int = 0
    """Drivers started with --resume."""
    own_restarts: int = 0
    """Times that a driver saw Ray die and started it again itself."""
    epochs: int = 0
    seconds: float = 0.0
    gone_seconds: float = 0.0
    """After the last driver's end, until the last process was gone."""
    compared: bool = False
    """Whether a search that nobody touched stood beside."""
    faults: list[str] = field(default_factory=list)

    @property
    def by_target(self) -> dict[str, int]:
        return dict(Counter(kill.target for kill in self.kills))


class Campaign:
    """Searches in a folder, killed until so many kills are done.

    Args:
        arguments: of `search.run`, for every search.
        first: targets that are killed first, in this order, before chance draws.
        on_step: called with a line about what is going on.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        kills: int,
        seed: int,
        first: Sequence[str] = (),
        on_step: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._folder, self._arguments, self._wanted = folder, [*arguments, "--no-dashboard"], kills
        self._chance, self._first, self._on_step = random.Random(seed), list(first), on_step
        self._mark = uuid.uuid4().hex
        self._log = folder / "search.log"
        self._storage = f"sqlite:///{folder}/runs/arbor.db"
        self._seen: Committed = {}
        self._worker_kills: Counter[str] = Counter()
        self._driver: Driver | None = None
        self._began = 0.0
        self.outcome = Outcome()

    def run(self, *, compare: bool) -> Outcome:
        """Kill, resume, audit. With `compare`, the same search runs untouched first, and must come out equal.

        Raises:
            InputError: the search cannot be started at all.
        """
        began, memory = time.monotonic(), shared_memory()
        # short: Ray's sockets are in it, and their paths have 107 bytes at most
        self._temporary = Path(tempfile.mkdtemp(prefix="af-", dir="/tmp"))
        try:
            whole = None
            if compare:
                self._on_step("a search that nobody touches, for comparison")
                whole = self._story(self._undisturbed())
            with contextlib.suppress(HangError):
                while len(self.outcome.kills) < self._wanted or not self.outcome.searches:
                    search_id = self._one_search()
                    self._on_step(f"{search_id} has ended: audit")
                    self._audit(search_id, whole)
            self.outcome.compared = compare
            self._on_step("waiting for what was killed to be gone")
            left, self.outcome.gone_seconds = left_on_the_machine(self._mark, memory)
            self.outcome.faults += [*left, *left_files(self._folder / "runs", self._temporary)]
            self.outcome.own_restarts = len(_RESTARTED.findall(self._log.read_text(errors="replace")))
        finally:
            self._close()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _undisturbed(self) -> str:
        driver = self._start(self._arguments)
        code = driver.process.wait()
        if code != 0:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"The search cannot be run untouched (exit code {code}): {''.join(last)}")
        with self._store() as store:
            return store.searches()[-1].id

    def _one_search(self) -> str:
        """From its start to its end; killed as long as kills are wanted."""
        known = self._searches()
        self._start(self._arguments)
        self._worker_kills.clear()
        self._seen = {}
        target, moment = self._next_kill()
        silent_since, steps = time.monotonic(), (-1, 0)
        reports = 0
        while True:
            search_id = next((name for name in self._searches() if name not in known), None)
            epochs = self._epochs(search_id)
            assert self._driver is not None
            code = self._driver.code
            if code is not None:
                if code == 0:
                    assert search_id is not None
                    return search_id
                if search_id is None and not self.outcome.kills:
                    raise InputError(f"The search cannot be started; its output is in {self._log}.")
                if code != -signal.SIGKILL:  # whatever else dies, a driver goes on by itself
                    last = self.outcome.kills[-1].target if self.outcome.kills else "nothing"
                    self.outcome.faults.append(
                        f"a driver of {search_id} gave up, exit code {code}; killed last: {last}"
                    )
                self._resume(search_id)
            now = (epochs, len(self.outcome.kills) + self.outcome.resumes)
            if now != steps:
                silent_since, steps = time.monotonic(), now
            elif time.monotonic() - silent_since > SILENCE_SECONDS:
                last = self.outcome.kills[-1].target if self.outcome.kills else "nothing"
                self.outcome.faults.append(f"{search_id} hangs; killed last: {last}")
                raise HangError
            early = isinstance(moment, float)
            due = self._since_start() >= moment if early else epochs - reports >= moment
            if len(self.outcome.kills) < self._wanted and due and self._kill(target, search_id, epochs):
                target, moment = self._next_kill()
                reports = epochs
            time.sleep(_LOOK_SECONDS)

    def _next_kill(self) -> tuple[str, float | int]:
        """What is killed next, and when: so many seconds after a driver's start, or after so many more reports."""
        if self._first:
            target = self._first.pop(0)
        else:
            names = list(WEIGHTS)
            target = self._chance.choices(names, [WEIGHTS[name] for name in names])[0]
        if self._chance.random() < EARLY:
            return target, self._chance.uniform(0, EARLY_SECONDS)
        return target, self._chance.randint(1, MOST_REPORTS)

    def _kill(self, target: str, search_id: str | None, epochs: int) -> bool:
        """Whether something was killed; where there is no gang, a trial's worker stands for it."""
        assert self._driver is not None
        alive = targets(self._mark, self._driver.process.pid)
        found = alive.get(target, []) or (alive.get("trial worker", []) if target == "gang worker" else [])
        if target in ("trial worker", "gang worker"):
            found = self._expendable(found, search_id, in_gang="gang worker" in alive)
        if not found:
            return False
        victim = self._chance.choice(found)
        time.sleep(self._chance.uniform(0, 0.3))
        seconds = self._since_start()
        if search_id is not None:
            with self._store() as store:
                self._seen.update(committed(store, search_id))
        what = target_of(victim, self._driver.process.pid)  # again: idle workers change their work
        if what is None:
            return False
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            return False
        self.outcome.kills.append(Kill(target=what, search=search_id, epochs=epochs, seconds=seconds))
        self._on_step(f"{search_id or 'not yet in the store'}, after {epochs} reports: killed {what}")
        if what == "driver":
            self._driver.process.wait()
        return True

    def _expendable(
        self, workers: list[psutil.Process], search_id: str | None, *, in_gang: bool
    ) -> list[psutil.Process]:
        """Workers of trials that Ray will start again: a trial whose worker dies too often fails, and rightly so."""
        if search_id is None:
            return []
        with self._store() as store:
            running = [row for row in store.trials(search_id) if row.status == "running"]
        trained = {trainer_of(Path(row.provenance["folder"])): row.id for row in running}
        by_pid = {worker.pid: worker for worker in workers}
        known = {pid: name for pid, name in trained.items() if pid in by_pid}
        if in_gang or not known:  # any worker may be of any trial
            names = [row.id for row in running]
            if not names or any(self._worker_kills[name] >= RETRIES for name in names):
                return []
            self._worker_kills.update(names)
            return workers
        free = [pid for pid, name in known.items() if self._worker_kills[name] < RETRIES]
        if not free:
            return []
        chosen = self._chance.choice(free)
        self._worker_kills[known[chosen]] += 1
        assert chosen is not None
        return [by_pid[chosen]]

    def _resume(self, search_id: str | None) -> None:
        if search_id is None:  # killed before there was anything to resume
            self._start(self._arguments)
            return
        self.outcome.resumes += 1
        self._start(["--resume", search_id, "--no-dashboard"])

    def _start(self, arguments: Sequence[str]) -> Driver:
        self._began = time.monotonic()
        environment = {"TMPDIR": str(self._temporary), "COLUMNS": "160"}
        # torch keeps compiled code below the temporary folder, for later runs: that is no litter
        environment["TORCHINDUCTOR_CACHE_DIR"] = os.environ.get(
            "TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
        )
        self._driver = Driver(arguments, self._folder, self._log, self._mark, environment)
        return self._driver

    def _since_start(self) -> float:
        return time.monotonic() - self._began

    @contextlib.contextmanager
    def _store(self) -> Iterator[Store]:
        with Store.open(self._storage, create=False) as store:
            yield store

    def _searches(self) -> list[str]:
        try:
            with self._store() as store:
                return [row.id for row in store.searches()]
        except InputError:  # no database yet, or one that is just being made
            return []

    def _epochs(self, search_id: str | None) -> int:
        if search_id is None:
            return 0
        with self._store() as store:
            return sum(row.epochs for row in store.trials(search_id))

    def _story(self, search_id: str) -> list[tuple[str, object]]:
        with self._store() as store:
            return story(store, search_id)

    def _audit(self, search_id: str, whole: list[tuple[str, object]] | None) -> None:
        with self._store() as store:
            self.outcome.faults += history_faults(store, search_id, self._seen)
            self.outcome.epochs += sum(row.epochs for row in store.trials(search_id) if row.status in ENDED)
        if whole is not None:
            self.outcome.faults += differences(self._story(search_id), whole)
        self.outcome.searches.append(search_id)

    def _close(self) -> None:
        """Nothing of it stays, also where it failed in the middle."""
        for process in marked(self._mark):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self._temporary, ignore_errors=True)
