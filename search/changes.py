"""What is not as it was when a search was last driven: what a resume refuses unless told, and what it only records."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from results.errors import InputError
from results.matches import variant_words
from results.rows import SearchRow
from results.store import Store
from search import catalog
from search.experiment import Experiment
from search.sampler import DRAWN, Sampler, described_space, point_of
from trainer.config import Flat
from trainer.dataset import Header
from trainer.fingerprint import differences

RECORDED = (
    "trials", "seeds", "concurrency", "cpus_per_trial", "gpus_per_trial", "workers_per_trial", "nodes_per_trial", "threads",
    "data_checksum",
)  # fmt: skip
"""Settings of which a change is recorded."""
FORMER = {"workers_per_trial": 1, "nodes_per_trial": 1}
"""What a search has had whose settings do not say it."""


def variant_hashes(paths: Sequence[str]) -> dict[str, str]:
    """For each file or folder of feed-forward kinds outside the package, sha256 over its Python files."""
    hashes = {}
    for path in paths:
        digest, place = hashlib.sha256(), Path(path)
        for file in sorted(filter(Path.is_file, place.rglob("*.py"))) if place.is_dir() else [place]:
            digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
        hashes[path] = digest.hexdigest()[:16]
    return hashes


@dataclass(frozen=True, slots=True)
class Refused:
    """What a resume refuses unless told."""

    sentences: list[str]
    """One for each change."""
    outside: int
    """Once it is accepted, of the first so many trials nobody asks again whether the space holds them."""


def refused_changes(
    store: Store,
    row: SearchRow,
    experiment: Experiment,
    startup_trials: int,
    header: Header,
    present: Mapping[str, Any],
) -> Refused:
    """What would make the trials to come another experiment than those before."""
    found = []
    recorded = row.settings["data_checksum"]
    if header.checksum != recorded:
        found.append(
            f"The data set {header.name!r} has changed since {row.id} began (checksum {header.checksum[:12]}, "
            f"recorded {recorded[:12]})."
        )
    files = {"arch_space/ or trainer/": (row.provenance.get("source_hash"), present["source_hash"])}
    for path, before in row.provenance.get("variant_hashes", {}).items():
        files[path] = (before, present["variant_hashes"].get(path))
    for what, (before, now) in files.items():
        if before is not None and before != now:
            found.append(f"The code of the model has changed since {row.id} began ({what}: {before} -> {now}).")
    outside = max((change["outside"] for change in row.provenance.get("changes", [])), default=0)
    if not experiment.is_comparison:
        sampler, trials = Sampler(experiment, startup_trials), store.trials(row.id)
        for trial in trials[outside:]:
            try:
                sampler.recall(trial.number, point_of(trial.config, trial.provenance.get(DRAWN)))
            except InputError as error:
                found.append(str(error).partition("; ")[0] + ".")
                outside = len(trials)
                break
        else:  # what has been drawn fits, but not everything may that will be
            found += _other_space(row, experiment)
    else:
        found += _other_grid(row)
    return Refused(found, outside)


def _other_space(row: SearchRow, experiment: Experiment) -> list[str]:
    before = row.settings.get("space")  # absent before it was recorded
    if before is None or (now := described_space(experiment)) == before:
        return []
    return [f"The space of {experiment.name!r} has changed since {row.id} began ({_differing(before, now)})."]


def _other_grid(row: SearchRow) -> list[str]:
    gone, new = _edited_grid(row)
    if not (gone and new):
        return []  # it has grown, or what is gone from it stays
    edited = f"gone: {_some(gone, row)}; new: {_some(new, row)}"
    return [
        f"The grid of {row.experiment!r} has changed since {row.id} began ({edited}): both would stand in one table."
    ]


def notes_on_edits(row: SearchRow) -> list[str]:
    """What a resume does about an experiment's file that says something else by now, where nothing is refused."""
    if row.settings.get("confirms"):
        return []
    notes, source = [], row.settings["source"]
    edited = catalog.load(source)
    ranges = {key: list(bounds) for key, bounds in edited.ranges.items()}
    for what, now in (("another base", dict(edited.base)), ("other ranges", ranges)):
        before = row.settings[what.split()[1]]
        if now != before:
            notes.append(
                f"{source} has {what} by now ({_differing(before, now)}); {row.id} goes on with what it began with."
            )
    gone, new = _edited_grid(row)
    if gone:
        notes.append(f"{source} no longer has {_some(gone, row)}; {row.id} keeps what it has.")
    if new:
        notes.append(f"New in {source}, and trained with the others: {_some(new, row)}.")
    return notes


def _edited_grid(row: SearchRow) -> tuple[list[Flat], list[Flat]]:
    """Variants of a comparison that are gone from its file by now, and those that are new in it."""
    settings = row.settings
    if settings["grid"] is None or settings.get("confirms"):
        return [], []
    matches = settings.get("match") or []
    asked = [variant["asked"] for match in matches for variant in match["variants"]] if matches else settings["grid"]
    grid = [dict(variant) for variant in catalog.load(settings["source"]).grid or ()]
    gone = [variant for n, variant in enumerate(asked) if variant not in grid and variant not in asked[:n]]
    return gone, [variant for variant in grid if variant not in asked]


def _some(variants: Sequence[Flat], row: SearchRow) -> str:
    shared = {**row.settings["base"], **row.settings["fixed"]}
    kind = {"ffn": shared["ffn"]} if "ffn" in shared else {}
    more = f" and {len(variants) - 2} more" if len(variants) > 2 else ""
    return ", ".join(variant_words({**kind, **variant}) for variant in variants[:2]) + more


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{key}: {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    )


def require_accepted(row: SearchRow, refused: Refused, *, accepted: bool) -> None:
    """Raises InputError where something is refused that nobody accepted."""
    if refused.sentences and not accepted:
        raise InputError(
            f"{' '.join(refused.sentences)} Put back what was there, start a new search, or go on with {row.id} all the "
            "same with --accept-changes, which is recorded."
        )


def with_changes(
    row: SearchRow, settings: Mapping[str, Any], present: Mapping[str, Any], refused: Refused
) -> list[dict[str, Any]]:
    """The provenance's list of changes, one entry longer where anything is different from when the search last ran."""
    former: list[dict[str, Any]] = row.provenance.get("changes", [])
    changed = [
        f"{name}: {before} -> {settings.get(name)}"
        for name in RECORDED
        if (before := row.settings.get(name, FORMER.get(name))) != settings.get(name)
    ]
    known = {line.partition(":")[0] for line in changed}
    changed += [line for line in differences(row.provenance, dict(present)) if line.partition(":")[0] not in known]
    if row.provenance.get("hostname") != present.get("hostname"):
        changed.append(f"hostname: {row.provenance.get('hostname')} -> {present.get('hostname')}")
    if not changed and not refused.sentences:
        return former
    entry = {"at": datetime.now(UTC).isoformat(), "changed": changed, "accepted": refused.sentences}
    return [*former, {**entry, "outside": refused.outside}]
