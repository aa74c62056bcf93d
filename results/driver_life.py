"""Whether the process that drives a search, or trains a single trial, lives, as far as this host can tell."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import psutil


def driver_process() -> dict[str, object]:
    """This process, for the provenance of the search that it drives or of the single trial that it trains from now on."""
    return {"driver_pid": os.getpid(), "driver_started": psutil.Process().create_time()}


def lives_here(provenance: Mapping[str, Any]) -> bool:
    """Whether the process that a provenance names lives on this host, whose number another may have by now."""
    pid = provenance.get("driver_pid")
    try:
        process = psutil.Process(pid)
        started, ended = process.create_time(), process.status() == psutil.STATUS_ZOMBIE  # nobody has asked how it ended
    except (psutil.NoSuchProcess, TypeError):
        return False
    return pid is not None and not ended and abs(started - provenance.get("driver_started", 0)) < 1


def is_gone(provenance: Mapping[str, Any]) -> bool:
    """Whether a driver of this host has ended: no heartbeat need grow old to say so. False where nothing is known."""
    here = provenance.get("hostname") == platform.node() and provenance.get("driver_pid") is not None
    return here and not lives_here(provenance)
