"""Whether the process that drives a search, or trains a single trial, lives, as far as this host can tell."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import psutil

from results.text import missing

SILENT_SECONDS = 120
"""Without a heartbeat, which comes every few seconds, after which a driver is said to be silent."""


class Life(StrEnum):
    """What is known of the driver of a search that counts as running, in the word that a list has for the search."""

    ALIVE = "running"
    SILENT = "silent"
    GONE = "gone"


def life(status: str, provenance: Mapping[str, Any], silent: float | None) -> Life | None:
    """Of a search's driver; none where the search does not count as running, and so needs no driver.

    Args:
        silent: what `silent_seconds` gives; a driver without any heartbeat is silent.
    """
    if status != "running":
        return None
    if is_gone(provenance):
        return Life.GONE
    return Life.SILENT if silent is None or silent > SILENT_SECONDS else Life.ALIVE


def silent_seconds(heartbeat: datetime | None) -> float | None:
    """Since the last heartbeat; none where there never was one."""
    if heartbeat is None or missing(heartbeat):
        return None
    return max(0.0, (datetime.now(UTC) - heartbeat).total_seconds())


def driver_process() -> dict[str, object]:
    """This process, for the provenance of the search that it drives or of the single trial that it trains from now on."""
    return {"driver_pid": os.getpid(), "driver_started": psutil.Process().create_time()}


def lives_here(provenance: Mapping[str, Any]) -> bool:
    """Whether the process that a provenance names lives on this host, whose number another may have by now."""
    pid = provenance.get("driver_pid")
    try:
        process = psutil.Process(pid)
        # a zombie has ended, and nobody has asked how
        started, ended = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, TypeError):
        return False
    return pid is not None and not ended and abs(started - provenance.get("driver_started", 0)) < 1


def is_of_this_host(provenance: Mapping[str, Any]) -> bool:
    """Whether a provenance names a process of this host, alive or not."""
    return provenance.get("hostname") == platform.node() and provenance.get("driver_pid") is not None


def is_gone(provenance: Mapping[str, Any]) -> bool:
    """Whether a driver of this host has ended: no heartbeat need grow old to say so. False where nothing is known."""
    return is_of_this_host(provenance) and not lives_here(provenance)
