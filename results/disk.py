"""What run folders take on disk, and their removal: by rule, never a running search's, never through a link.

A trial's folder holds what `trainer/checkpoint.py` and `trainer/board.py` write. Only such files are ever removed: whatever
else a person put there stays, links too.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from results.archive import is_archived
from results.rows import SearchRow, TrialRow
from results.store import ENDED, Store
from results.tuned import COMPLETE, LR_TUNING

CHECKPOINTS, PREDICTIONS, LOGS, OTHER = SORTS = ("checkpoints", "predictions", "logs", "other")
BOARD = "tensorboard"
_TEMPORARY = r"(\.\d+)?"  # of a writer that was killed: the name with a dot before and its process behind
_OURS = (
    (CHECKPOINTS, re.compile(rf"\.?(last|selected|best-\d{{4,}})\.pt{_TEMPORARY}")),
    (CHECKPOINTS, re.compile(rf"\.?attempt{_TEMPORARY}")),
    (PREDICTIONS, re.compile(rf"\.?predictions\.npz{_TEMPORARY}")),
)
_EVENTS = re.compile(r"events\.out\.tfevents\..+")


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes by sort of file, and how many folders they lie in."""

    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SORTS, 0))
    folders: int = 0

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    def __add__(self, other: Usage) -> Usage:
        sizes = {sort: self.sizes[sort] + other.sizes[sort] for sort in SORTS}
        return Usage(sizes, self.folders + other.folders)

    def of(self, sorts: Collection[str]) -> int:
        """Bytes of these sorts of file."""
        return sum(self.sizes[sort] for sort in sorts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What is to go: everything of the chosen searches' trials, but for the best ones."""

    searches: frozenset[str] = frozenset()
    """Ids; together with `archived` none chosen means all, if `keep_best` is given."""
    archived: bool = False
    """Choose the archived searches, too."""
    keep_best: int | None = None
    """So many finished trials of each search keep their files: of those that count the ones with the highest validation
    accuracy. A trial that tuned a learning rate does not count."""
    predictions: bool = False
    """Also the predictions for single images, which are small and which `results.compare` reads."""

    @property
    def sorts(self) -> tuple[str, ...]:
        """The sorts of file that go."""
        return (CHECKPOINTS, LOGS, *((PREDICTIONS,) if self.predictions else ()))

    def chooses(self, search: SearchRow) -> bool:
        """Whether a search's files are looked at."""
        if not self.searches and not self.archived:
            return self.keep_best is not None
        return search.id in self.searches or (self.archived and is_archived(search.tags))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Trials whose files would go, and why others' stay."""

    trials: list[tuple[TrialRow, Usage]]
    running: list[str]
    """Searches that are left alone because they run."""
    unfinished: int
    """Trials that keep what resuming them needs."""


def run_folder(row: TrialRow) -> Path | None:
    """A trial's folder, where it is a real one with the name that a trial's has; none where there is no such folder."""
    path = Path(row.provenance.get("folder") or "")
    # the store's text may be anybody's, and what follows removes files
    is_ours = path.is_absolute() and path.parent.name == row.search_id and path.name.startswith(f"{row.number:03d}-")
    return path if is_ours and path.is_dir() and not path.is_symlink() else None


def usage(row: TrialRow) -> Usage:
    """What a trial's folder takes."""
    folder = run_folder(row)
    if folder is None:
        return Usage()
    sizes = dict.fromkeys(SORTS, 0)
    for sort, _, _, size in _files(folder):
        sizes[sort] += size
    return Usage(sizes, folders=1)


def plan(store: Store, rule: Rule) -> Plan:
    """What a rule would remove. Changes nothing."""
    trials: list[tuple[TrialRow, Usage]] = []
    running: list[str] = []
    unfinished = 0
    for search in store.searches():
        if not rule.chooses(search):
            continue
        if search.status == "running":
            running.append(search.id)
            continue
        rows = store.trials(search.id)
        counted = [row for row in rows if row.status in COMPLETE and LR_TUNING not in row.provenance]
        ranked = sorted(
            (row for row in counted if row.val_acc is not None), key=lambda row: (-(row.val_acc or 0.0), row.number)
        )
        kept = {row.id for row in ranked[: rule.keep_best or 0]}
        for row in rows:
            if row.id in kept:
                continue
            used = usage(row)
            if not used.of(rule.sorts):
                continue
            if _may_go(search, row):
                trials.append((row, used))
            else:
                unfinished += 1
    return Plan(trials=trials, running=running, unfinished=unfinished)


def remove(store: Store, planned: Plan, rule: Rule) -> Usage:
    """Remove what was planned, but nothing of what has been taken up again since; returns what went."""
    gone = Usage()
    for row, _ in planned.trials:
        search, fresh = store.search(row.search_id), store.trial(row.id)
        if search.status == "running" or not rule.chooses(search) or not _may_go(search, fresh):
            continue
        folder = run_folder(fresh)
        if folder is not None:
            gone += _remove(folder, rule.sorts)
    return gone


def _may_go(search: SearchRow, row: TrialRow) -> bool:
    """Whether nobody will go on with a trial: it has ended, or its search is archived and it is not being trained."""
    return row.status in ENDED or (is_archived(search.tags) and row.status != "running")


def _files(folder: Path) -> Iterator[tuple[str, str, int, int]]:
    """(sort, name, descriptor of its folder, bytes) of the regular files; no link is followed, not even to look."""
    for root, _, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        where = Path(root).relative_to(folder)
        for name in names:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield _sort(where, name), name, descriptor, status.st_size


def _sort(where: Path, name: str) -> str:
    if where == Path():
        return next((sort for sort, pattern in _OURS if pattern.fullmatch(name)), OTHER)
    return LOGS if where == Path(BOARD) and _EVENTS.fullmatch(name) else OTHER


def _remove(folder: Path, sorts: Collection[str]) -> Usage:
    """By descriptors: a folder that is replaced by a link in the middle leads nowhere else."""
    sizes = dict.fromkeys(SORTS, 0)
    for sort, name, descriptor, size in _files(folder):
        if sort in sorts:
            os.unlink(name, dir_fd=descriptor)
            sizes[sort] += size
    for path in (folder / BOARD, folder):
        with suppress(OSError):  # not empty: something is left that is not ours to remove
            path.rmdir()
    return Usage(sizes, folders=1)
