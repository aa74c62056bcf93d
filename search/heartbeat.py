"""Whether a search has a living driver: by its process on the same host, by its heartbeat elsewhere.

The driver writes the time into `searches.heartbeat` every `BEAT_SECONDS`, from a thread of its own, so that a long start of
Ray or a slow disk does not make it look dead. Hosts are told apart by name, and their clocks should agree to some seconds.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError

from results.driver_life import lives_here
from results.errors import InputError
from results.rows import SearchRow
from results.store import Store
from search.background_thread import BackgroundThread

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""So long after its last heartbeat a driver on another host counts as gone."""


class Heartbeat(BackgroundThread):
    """Writes a search's heartbeat while the context lasts; a beat that cannot be written is left out, the next one comes."""

    def __init__(self, store: Store, search_id: str, seconds: float = BEAT_SECONDS) -> None:
        super().__init__("heartbeat")
        self._store, self._search_id, self._seconds = store, search_id, seconds

    def _run(self) -> None:
        while True:
            with suppress(DBAPIError, OSError):  # locked, away or full: the driver itself will find out and say so
                self._store.beat(self._search_id)
            if self._over.wait(self._seconds):
                return


def living_driver(row: SearchRow, now: datetime | None = None) -> str | None:
    """The driver of a search in words, or none where it has none that lives: it ended, or died.

    On this host a dead process counts as gone at once; of another host only the heartbeat is known.
    """
    if row.status != "running":
        return None
    provenance = row.provenance
    host = provenance.get("hostname")
    if host not in (None, platform.node()):
        age = heartbeat_age(row, now)
        if age is None or age >= STALE_SECONDS:
            return None
        return f"a process on the host {host}, which gave a sign of life {max(age, 0):.0f} s ago"
    return f"process {provenance.get('driver_pid')} on this host" if lives_here(provenance) else None


def heartbeat_age(row: SearchRow, now: datetime | None = None) -> float | None:
    """Seconds since the last heartbeat; none where there never was one."""
    return None if row.heartbeat is None else ((now or datetime.now(UTC)) - row.heartbeat).total_seconds()


def refuse_second_driver(row: SearchRow, now: datetime | None = None) -> None:
    """Raises InputError while the process that drives a search lives, here or elsewhere."""
    driver, here = living_driver(row, now), row.provenance.get("hostname") in (None, platform.node())
    if driver is None or (here and row.provenance.get("driver_pid") == os.getpid()):
        return
    way_out = "stop that one first"
    if not here:
        wait = STALE_SECONDS - (heartbeat_age(row, now) or 0)
        way_out = f"stop that one first, or wait {wait:.0f} s without a sign of life if it is dead"
    raise InputError(f"Search {row.id} is being driven by {driver}; {way_out}.")
