"""Which of several workers may write into a trial's folder: the one of the latest attempt.

A worker may be lost without being dead: its node was cut off, or stopped and came back. Its trial then goes on elsewhere,
from the checkpoint in the shared folder, as a later attempt. The number of the latest attempt lies in the folder, in the
file `attempt`; a worker looks there before each change that it makes, and ends where it finds a higher number, or no file
at all, which means that the trial has ended.

Between the look and the change that follows a stopped process may still come back late. What it then puts in place is a
whole checkpoint of the same trial, of an earlier epoch at worst: it costs epochs that are trained again, never the trial.
If the trial has ended meanwhile, the look after the change says so, and the worker removes what it wrote.
"""

from __future__ import annotations

import os
from pathlib import Path

FILE = "attempt"


class SupersededError(OSError):
    """Another worker has taken the trial over, or it has ended."""


class EndedError(SupersededError):
    """The trial has ended: nothing in its folder is this worker's any more."""


class Lease:
    """The right to write into a trial's folder, taken here; numbers of attempts come from the driver and only grow.

    Raises:
        SupersededError: a later attempt holds it.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._path, self.attempt = folder / FILE, attempt
        folder.mkdir(parents=True, exist_ok=True)
        self._yield_to(self._holder() or 0)
        self._take()

    def check(self) -> None:
        """Call before each change in the folder, and after the last. Raises SupersededError once a later attempt holds the
        lease, EndedError once nobody does."""
        holder = self._holder()
        if holder is None:
            raise EndedError(f"The trial of {self._path.parent} has ended.")
        self._yield_to(holder)
        if holder < self.attempt:  # an earlier attempt that took it late, in the middle of our own start
            self._take()

    def _yield_to(self, holder: int) -> None:
        if holder > self.attempt:
            raise SupersededError(f"Attempt {holder} holds {self._path.parent} by now; this one was {self.attempt}.")

    def _holder(self) -> int | None:
        try:
            return int(self._path.read_text())
        except FileNotFoundError:
            return None

    def _take(self) -> None:
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}")
        temporary.write_text(str(self.attempt))
        os.replace(temporary, self._path)
