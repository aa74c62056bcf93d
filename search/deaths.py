"""Why a worker process is gone, in words, as far as Ray, the kernel and our own watchdog tell."""

from __future__ import annotations

from pathlib import Path

DIED = "the trial's worker process died"
OWN = ("WorkerLostError: ", "GpuLostError: ", "LostCheckpointError: ")
"""Names of what `search.gang` and `search.worker` raise, in whose text the cause is."""
_RAYS_MONITOR = ("running low on memory", "OutOfMemoryError", "memory usage threshold")
"""Of which one is in what Ray says of a worker that its own memory monitor killed."""


def cause_of_death(notes: str, kernel_kills: int) -> str:
    """In words.

    Args:
        notes: what Tune wrote down of its failures; the last one counts. A process that died has no more to say, one that
            raised has.
        kernel_kills: processes that the kernel has killed for lack of memory since the trial began. Nothing tells which.
    """
    last = notes.rpartition("Failure # ")[2].strip()
    lines = last.splitlines()
    if any(words in last for words in _RAYS_MONITOR):
        return "the trial's worker process was killed by Ray's memory monitor, because this machine's memory was nearly full"
    for name in OWN:
        if lines and (told := lines[-1].partition(name)[2]):
            return told
    if any(line.startswith("Traceback") for line in lines):
        return f"the trial's worker process raised {lines[-1].strip()}"
    if kernel_kills:
        return f"{DIED}, while the kernel killed a process for lack of memory"
    return DIED


def killed_for_memory() -> int:
    """Processes that the kernel has killed for lack of memory so far: on this machine, or in this container alone."""
    for place, key in ((_own_group() / "memory.events", "oom_kill"), (Path("/proc/vmstat"), "oom_kill")):
        try:
            words = dict(line.split()[:2] for line in place.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if key in words:
            return int(words[key])
    return 0


def _own_group() -> Path:
    """The folder of this process's control group (version 2)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    own = next((line.partition("::")[2] for line in lines if line.startswith("0::")), "/")
    return Path("/sys/fs/cgroup") / own.lstrip("/")
