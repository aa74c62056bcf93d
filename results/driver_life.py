"""Whether the process that drives a search lives, as far as this host can tell."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import psutil


def lives_here(provenance: Mapping[str, Any]) -> bool:
    """Whether the process that a search's provenance names lives on this host, whose number another may have by now."""
    pid = provenance.get("driver_pid")
    try:
        started = psutil.Process(pid).create_time()
    except (psutil.NoSuchProcess, TypeError):
        return False
    return pid is not None and abs(started - provenance.get("driver_started", 0)) < 1


def is_gone(provenance: Mapping[str, Any]) -> bool:
    """Whether a driver of this host has ended: no heartbeat need grow old to say so. False where nothing is known."""
    here = provenance.get("hostname") == platform.node() and provenance.get("driver_pid") is not None
    return here and not lives_here(provenance)
