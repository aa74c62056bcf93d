"""Taking the bundle of a trial into a store. It may come from anybody: nothing in it is run, unpickled or believed.

Names are checked against a list, sizes against limits, contents against their checksums, texts (`results/untrusted.py`) and
rows (`results/believed.py`) against what an honest bundle has, before anything is written. Python files of a bundle are
loaded by nobody unless a person says so.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from results.believed import SearchWords, decision_rows, epoch_rows, search_words, trial_columns
from results.bundled import (
    CURVE,
    DECISIONS,
    DIFF,
    FORMAT,
    MANIFEST,
    README,
    SEARCH,
    SELECTED,
    TRIAL,
    VARIANT,
    VARIANTS,
    VERSION,
)
from results.errors import InputError
from results.ids import FolderClaim, make_run_folder, runs_folder
from results.images import PREDICTIONS
from results.rows import DecisionRow, EpochRow
from results.store import Store
from results.untrusted import DamagedError, dictionary, table

LIMITS = {
    MANIFEST: 1_000_000, README: 1_000_000, SEARCH: 64_000_000, TRIAL: 64_000_000, CURVE: 256_000_000, DECISIONS: 64_000_000,
    DIFF: 4_000_000, VARIANT: 4_000_000, PREDICTIONS: 1_000_000_000, SELECTED: 16_000_000_000,
}  # fmt: skip
"""Bytes of each file, unpacked."""
NEEDED = (README, SEARCH, TRIAL, CURVE, DECISIONS)
MOST_FILES = 200
BUNDLE = "bundle"
"""The key in a trial's provenance and in its search's settings, and a tag of that, which say where it came from."""
_SOURCE = re.compile(re.escape(VARIANTS) + r"[A-Za-z_][A-Za-z0-9_]{0,80}\.py")
_ENCRYPTED = 0x41  # the bits of a member's flags
_UNREADABLE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeError,
    OSError, OverflowError,
)  # fmt: skip
"""What Python's zipfile raises for a changed byte; OSError where an offset leads before the file's beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """Where a bundle's trial is in the store."""

    trial: str
    original: str
    was_there: bool
    untrusted: list[str]
    """Python files of the bundle that nobody loads."""


def open_bundle(path: Path, store: Store, *, trust_code: bool = False) -> Opened:
    """Put the trial of a bundle into the store, in a search of its own; one that is there already is not added again.

    Args:
        trust_code: let the bundle's own feed-forward kinds be loaded when the trial is evaluated or replayed.
    Raises:
        InputError: no bundle, a newer or a damaged one.
    """
    with ExitStack() as stack:
        with _reading(path):
            file = stack.enter_context(zipfile.ZipFile(path))
            bundle = _read(path, file)
        for row in store.searches():
            if (row.settings.get(BUNDLE) or {}).get("sha256") == bundle.digest:
                return Opened(trial=f"{row.id}.1", original=bundle.head["trial"], was_there=True, untrusted=[])
        return _take_in(path, file, bundle, store, trust_code=trust_code)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a file may hold ends in one sentence: a stranger's text, or a byte that was changed anywhere."""
    try:
        yield
    except DamagedError as error:
        why = str(error)[:300]
        raise InputError(
            f"The bundle {path} is damaged or was made by something else: {why}; ask for it again."
        ) from error
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; name a bundle.") from None
    except IsADirectoryError:
        raise InputError(f"A bundle is a file, but {path} is a folder; name a file.") from None
    except PermissionError as error:
        raise InputError(f"The file {path} cannot be read ({error.strerror}); mend that, or name another.") from error
    except _UNREADABLE as error:
        raise InputError(f"The file {path} is damaged or not a bundle ({error}); ask for it again.") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bundle:
    """What a bundle says, all of it checked."""

    head: dict[str, Any]
    digest: str
    search: SearchWords
    trial: dict[str, Any]
    """The columns of its row."""
    curve: list[EpochRow]
    decided: list[DecisionRow]


def _read(path: Path, file: zipfile.ZipFile) -> _Bundle:
    head = _checked_head(path, file)
    return _Bundle(
        head=head,
        digest=hashlib.sha256(file.read(MANIFEST)).hexdigest(),
        search=search_words(SEARCH, dictionary(SEARCH, file.read(SEARCH))),
        trial=trial_columns(TRIAL, dictionary(TRIAL, file.read(TRIAL))),
        curve=epoch_rows(CURVE, table(CURVE, file.read(CURVE), [f.name for f in fields(EpochRow)])),
        decided=decision_rows(DECISIONS, table(DECISIONS, file.read(DECISIONS), [f.name for f in fields(DecisionRow)])),
    )


def _take_in(path: Path, file: zipfile.ZipFile, bundle: _Bundle, store: Store, *, trust_code: bool) -> Opened:
    """The rows and the files, all or nothing."""
    head, search, columns = bundle.head, bundle.search, bundle.trial
    sources = sorted(name for name in head["files"] if name.startswith(VARIANTS))
    file_name = path.name.encode(errors="backslashreplace").decode()  # no UTF-8, where a shell was given other bytes
    told = {"trial": head["trial"], "search": head["search"], "file": file_name, "sha256": bundle.digest}
    runs = runs_folder(store.url)
    code = runs / f"bundle-code-{bundle.digest[:12]}"
    name = f"001-{_word(columns['config'].get('ffn'))}"
    settings = {
        "grid": None, "scheduler": "none", "seeds": [0], "rungs": [], BUNDLE: told,
        "variants": [str(code / each) for each in sources] if trust_code else [],
        "val_images": _count(search.settings.get("val_images")), "original": search.settings,
    }  # fmt: skip
    made: list[Path] = []

    def rows(search_id: str) -> list[dict[str, Any]]:
        """Called inside the transaction that has the id, so no other process writes into the folder of it."""
        _remove(made)  # those of a transaction that is tried again
        folder = runs / search_id / name
        made.append(folder.parent)  # which the claim has made
        _extract(file, head, folder)
        if trust_code and sources:
            made.extend([] if code.exists() else [code])
            for each in sources:
                _copy(file, each, code / each)
        whence = {**columns["provenance"], "folder": str(folder), BUNDLE: told}
        return [{**columns, "provenance": whence, "curve": bundle.curve, "decided": bundle.decided}]

    try:
        search_id = store.import_search(
            f"bundle-{re.sub(r'[^A-Za-z0-9_-]+', '_', head['search'])[:120]}",
            search.question,
            settings=settings,
            provenance={**search.provenance, BUNDLE: {"of": head["trial"], "file": file_name}},
            notes=search.notes,
            tags=["imported", BUNDLE],
            trials=rows,
            claim=FolderClaim(runs),
        )
    except BaseException:
        _remove(made)
        raise
    return Opened(
        trial=f"{search_id}.1", original=head["trial"], was_there=False, untrusted=[] if trust_code else sources
    )


def _checked_head(path: Path, file: zipfile.ZipFile) -> dict[str, Any]:
    """The manifest, after every name, size and checksum was found to be right."""
    entries = file.infolist()
    names = [entry.filename for entry in entries]
    if MANIFEST not in names:
        raise InputError(f"The file {path} is no bundle, or part of one (it has no {MANIFEST}); name a whole one.")
    if len(entries) > MOST_FILES or len(set(names)) < len(names):
        raise DamagedError(f"it has {len(entries)} files, or one twice")
    for entry in entries:
        limit = LIMITS.get(entry.filename, 1_000_000 if _SOURCE.fullmatch(entry.filename) else None)
        if limit is None or stat.S_ISLNK(entry.external_attr >> 16) or entry.is_dir():
            raise DamagedError(f"it has {entry.filename!r}, which no bundle has")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & _ENCRYPTED:
            raise DamagedError(f"{entry.filename} is packed in another way than bundles are")
        if entry.file_size > limit:
            raise DamagedError(f"{entry.filename} has {entry.file_size:,} bytes where {limit:,} are the most")
    head = dictionary(MANIFEST, file.read(MANIFEST))
    if head.get("format") != FORMAT:
        raise InputError(f"The file {path} is not a bundle of Arbor; name a bundle.")
    if head.get("version") != VERSION:
        raise InputError(
            f"The bundle {path} has version {head.get('version')}, and this Arbor reads version {VERSION}; use the Arbor "
            "that wrote it, or a newer one."
        )
    files = head.get("files")
    if not isinstance(files, dict) or set(files) != set(names) - {MANIFEST} or not set(NEEDED) <= set(files):
        raise DamagedError("its files are not those of its manifest")
    if not all(isinstance(head.get(key), str) for key in ("trial", "search")):
        raise DamagedError("its manifest names no trial")
    for name, said in files.items():
        found = hashlib.sha256()
        with file.open(name) as stream:
            while block := stream.read(1 << 20):
                found.update(block)
        if not isinstance(said, dict) or said.get("sha256") != found.hexdigest():
            raise DamagedError(f"{name} does not have its checksum")
    return head


def _extract(file: zipfile.ZipFile, head: dict[str, Any], folder: Path) -> None:
    """The files of the trial's folder, all or none; names were checked before."""
    make_run_folder(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for name in head["files"]:
            if name in (SELECTED, PREDICTIONS, DIFF, VARIANT):
                _copy(file, name, temporary / name)
        temporary.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove(made: list[Path]) -> None:
    """The folders of a bundle that is not in the store."""
    while made:
        shutil.rmtree(made.pop(), ignore_errors=True)


def _copy(file: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open(name) as source, target.open("wb") as written:
        shutil.copyfileobj(source, written, 1 << 20)


def _count(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _word(name: object) -> str:
    """A feed-forward kind as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", str(name))[:60] or "trial"
