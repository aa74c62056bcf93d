"""Where a search's numbers come from: code, versions, machines, data, settings, and what went wrong on the way."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from results.cli import DEFAULT_STORAGE
from results.frames import Frames
from results.protocol import with_protocol
from results.text import counted, missing, short

MOST_VALUES = 6
SETTINGS = (
    "source", "trials", "epochs", "seeds", "scheduler", "grace", "reduction", "rungs", "pooled_rungs", "sampler",
    "objectives", "search_seed", "tune_lr", "concurrency", "cpus_per_trial", "gpus_per_trial", "threads",
    "val_images", "fixed",
)  # fmt: skip
"""What a search was run with, in the order in which a reader wants it."""
OF_SEARCHES_ALONE = frozenset(
    {"trials", "scheduler", "grace", "reduction", "rungs", "pooled_rungs", "sampler", "objectives", "search_seed"}
)


def origin(frames: Frames, search_id: str) -> list[tuple[str, str]]:
    """Names and values: what the trials recorded, each different value once, and else what the search did."""
    search = frames.search(search_id)
    own: Mapping[str, Any] = search["provenance"] or {}
    trials = frames.trials_of(search_id)
    recorded = [provenance or {} for provenance in trials["provenance"]] if len(trials) else []
    told = [each for each in recorded if "versions" in each] or [own]
    rows = [
        ("command", str(own.get("command") or "")),
        ("code", _different(_commit(each) for each in (recorded or [own]))),
        ("code hash", _different(each.get("source_hash") for each in told)),
        ("versions", _different(_versions(each) for each in told)),
        ("machine", _different(_machine(each) for each in told)),
        ("CPU threads a trial", _different(each.get("threads") for each in told)),
        ("data", _different(_data(trials))),
        ("precision", _different(each.get("precision") for each in told)),
        ("optimizer", _different(each.get("optimizer") for each in told)),
    ]
    imported = (search["settings"] or {}).get("imported")
    if imported:
        rows.append(("imported from", f"{imported.get('file')} ({imported.get('format')})"))
        rows.append(("sha256 of that file", str(imported.get("sha256"))))
    if own.get("bundle"):
        rows.append(("came in a bundle", ", ".join(f"{key} {value}" for key, value in own["bundle"].items())))
    changes = own.get("changes")
    if changes:
        rows.append(("changed on resuming", f"{counted(len(changes), 'time')}: {short(changes)}"))
    return [(name, value) for name, value in rows if value]


def settings_of(frames: Frames, search_id: str) -> list[tuple[str, str]]:
    """What the search was run with."""
    settings: Mapping[str, Any] = frames.search(search_id)["settings"] or {}
    skipped = OF_SEARCHES_ALONE if settings.get("grid") is not None else frozenset({"seeds", "tune_lr"})
    rows = []
    for name in SETTINGS:
        value = settings.get(name)
        if name in skipped or value in (None, [], {}, ""):
            continue
        rows.append((name.replace("_", " "), _plain(value)))
    rows += [(f"range of {key}", _plain(value)) for key, value in (settings.get("ranges") or {}).items()]
    return rows


def diff_of(frames: Frames, search_id: str) -> str:
    """What was not committed when the search ran; empty where all was, or nothing is known."""
    return str((frames.search(search_id)["provenance"] or {}).get("diff") or "")


def failures(frames: Frames, search_id: str) -> list[dict[str, Any]]:
    """Trials that diverged or failed, with their causes."""
    trials = frames.trials[frames.trials["search_id"] == search_id]
    bad = trials[trials["status"].isin(["diverged", "failed"])] if len(trials) else trials
    return [
        {
            "trial": row["id"], "status": row["status"], "epochs": int(row["epochs_run"]),
            "cause": row["cause"] or ("a loss was not finite" if row["status"] == "diverged" else "not recorded"),
        }
        for row in bad.to_dict("records")
    ]  # fmt: skip


def malformed(frames: Frames, search_id: str) -> list[dict[str, Any]]:
    """Blocks of an imported file that were left out, by line."""
    return list((frames.search(search_id)["provenance"] or {}).get("malformed") or [])


def command(module: str, argument: str, storage: str) -> str:
    """A command as a shell takes it, with the storage where it is not the default one."""
    option = [] if storage == DEFAULT_STORAGE else ["--storage", storage]
    return shlex.join(["python", "-m", *module.split(), argument, *option])


def _different(found: Iterable[object]) -> str:
    counts = Counter(str(value) for value in found if not missing(value) and value != "")
    if len(counts) == 1:
        return next(iter(counts))
    parts = [f"{value} ({count} trials)" for value, count in counts.most_common(MOST_VALUES)]
    more = f"; and {len(counts) - MOST_VALUES} more" if len(counts) > MOST_VALUES else ""
    return "; ".join(parts) + more


def _commit(provenance: Mapping[str, Any]) -> str:
    if not provenance.get("git_commit"):
        return "no git commit recorded" if provenance.get("source_hash") else ""
    state = {True: ", with changes that were not committed", False: ", clean"}.get(provenance.get("dirty"), "")  # type: ignore[arg-type]
    return f"git commit {provenance['git_commit']}{state}"


def _versions(provenance: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in (provenance.get("versions") or {}).items() if version)


def _machine(provenance: Mapping[str, Any]) -> str:
    device = provenance.get("gpu") or provenance.get("cpu")
    return ", ".join(str(part) for part in (device, provenance.get("hostname")) if part)


def _data(trials: pd.DataFrame) -> list[str]:
    if not len(trials) or "data" not in trials:
        return []
    checked = with_protocol(trials)
    return [
        f"{name}, checksum {checksum}" if checksum else str(name)
        for name, checksum in zip(checked["data"], checked["checksum of the data"], strict=True)
        if not missing(name)
    ]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_plain(each)}" for key, each in value.items())
    return short(value)
