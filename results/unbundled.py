"""Taking the bundle of a trial into a store. It may come from anybody: nothing in it is run, unpickled or believed.

Names are checked against a list, sizes against limits, contents against their checksums, rows against the store's columns,
before anything is written. Python files of a bundle are loaded by nobody unless a person says so.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import zipfile
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

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
from results.ids import make_run_folder, runs_folder
from results.images import PREDICTIONS
from results.rows import DecisionRow, EpochRow, TrialRow
from results.store import ENDED, Store

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
_TEXT = ("status", "cause")
_WHOLE = ("epochs", "best_epoch", "parameters", "neurons_used", "macs", "macs_conditional")
_REAL = (
    "train_loss", "val_loss", "val_acc", "best_val_acc", "test_acc", "test_loss", "wall_seconds", "gpu_seconds",
)  # fmt: skip
_TIMES = ("started", "ended")


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
    try:
        with zipfile.ZipFile(path) as file:
            return _open(path, file, store, trust_code=trust_code)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}; name a bundle.") from None
    except IsADirectoryError:
        raise InputError(f"A bundle is a file, but {path} is a folder; name a file.") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"The file {path} is damaged or not a bundle ({error}); ask for it again.") from error


def _open(path: Path, file: zipfile.ZipFile, store: Store, *, trust_code: bool) -> Opened:
    head = _checked_head(path, file)
    digest = hashlib.sha256(file.read(MANIFEST)).hexdigest()
    for row in store.searches():
        if (row.settings.get(BUNDLE) or {}).get("sha256") == digest:
            return Opened(trial=f"{row.id}.1", original=head["trial"], was_there=True, untrusted=[])
    search, trial = (_json(path, file, name) for name in (SEARCH, TRIAL))
    columns = _columns(path, trial)
    sources = sorted(name for name in head["files"] if name.startswith(VARIANTS))
    told = {"trial": head["trial"], "search": head["search"], "file": path.name, "sha256": digest}
    provenance = {
        key: value for key, value in trial["provenance"].items() if key not in ("folder", "data_path", BUNDLE)
    }
    curve, decided = _curve(path, file), _decisions(path, file)
    runs = runs_folder(store.url)
    code = runs / f"bundle-code-{digest[:12]}"
    if trust_code:
        for each in sources:
            _copy(file, each, code / each)
    name = f"001-{_word(columns['config'].get('ffn'))}"
    settings = {
        "grid": None, "scheduler": "none", "seeds": [0], "rungs": [], BUNDLE: told,
        "variants": [str(code / each) for each in sources] if trust_code else [],
        "val_images": _count((search.get("settings") or {}).get("val_images")), "original": search.get("settings") or {},
    }  # fmt: skip

    def rows(search_id: str) -> list[dict[str, Any]]:
        """Called inside the transaction that has the id, so no other process writes into the folder of it."""
        folder = runs / search_id / name
        _extract(file, head, folder)
        whence = {**provenance, "folder": str(folder), BUNDLE: told}
        return [{**columns, "provenance": whence, "curve": curve, "decided": decided}]

    search_id = store.import_search(
        f"bundle-{re.sub(r'[^A-Za-z0-9_-]+', '_', head['search'])[:120]}",
        str(search.get("question") or ""),
        settings=settings,
        provenance={**(search.get("provenance") or {}), BUNDLE: {"of": head["trial"], "file": path.name}},
        notes=str(search.get("notes") or ""),
        tags=["imported", BUNDLE],
        trials=rows,
    )
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
        _damaged(path, f"it has {len(entries)} files, or one twice")
    for entry in entries:
        limit = LIMITS.get(entry.filename, 1_000_000 if _SOURCE.fullmatch(entry.filename) else None)
        if limit is None or stat.S_ISLNK(entry.external_attr >> 16) or entry.is_dir():
            _damaged(path, f"it has {entry.filename!r}, which no bundle has")
        if entry.file_size > limit:
            _damaged(path, f"{entry.filename} has {entry.file_size:,} bytes where {limit:,} are the most")
    head = _json(path, file, MANIFEST)
    if head.get("format") != FORMAT:
        raise InputError(f"The file {path} is not a bundle of Arbor; name a bundle.")
    if head.get("version") != VERSION:
        raise InputError(
            f"The bundle {path} has version {head.get('version')}, and this Arbor reads version {VERSION}; use the Arbor "
            "that wrote it, or a newer one."
        )
    files = head.get("files")
    if not isinstance(files, dict) or set(files) != set(names) - {MANIFEST} or not set(NEEDED) <= set(files):
        _damaged(path, "its files are not those of its manifest")
    if not all(isinstance(head.get(key), str) for key in ("trial", "search")):
        _damaged(path, "its manifest names no trial")
    for name, said in files.items():
        found = hashlib.sha256()
        with file.open(name) as stream:
            while block := stream.read(1 << 20):
                found.update(block)
        if not isinstance(said, dict) or said.get("sha256") != found.hexdigest():
            _damaged(path, f"{name} does not have its checksum")
    return head


def _extract(file: zipfile.ZipFile, head: dict[str, Any], folder: Path) -> None:
    """The files of the trial's folder, all or none; names were checked before."""
    make_run_folder(folder.parent)
    if folder.exists():
        raise InputError(
            f"The folder {folder} is in the way of the bundle's files; move it away, or name another storage."
        )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        for name in head["files"]:
            if name in (SELECTED, PREDICTIONS, DIFF, VARIANT):
                _copy(file, name, temporary / name)
        temporary.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _copy(file: zipfile.ZipFile, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with file.open(name) as source, target.open("wb") as written:
        shutil.copyfileobj(source, written, 1 << 20)


def _columns(path: Path, trial: dict[str, Any]) -> dict[str, Any]:
    """The columns of the trial's row, each of the type that the store has."""
    if set(trial) != {f.name for f in fields(TrialRow)} or trial["status"] not in ENDED:
        _damaged(path, f"{TRIAL} is not the row of a trial that has ended")
    config = trial["config"]
    if not isinstance(config, dict) or not isinstance(trial["provenance"], dict) or not config:
        _damaged(path, f"{TRIAL} has no dictionary of the trial")
    if not all(isinstance(value, str | int | float | None) for value in config.values()):
        _damaged(path, f"{TRIAL} has a setting that is neither text nor number")
    seed = config.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        _damaged(path, f"{TRIAL} has the seed {seed!r}")
    found: dict[str, Any] = {"config": config}
    for names, kind in ((_TEXT, str), (_WHOLE, int), (_REAL, (int, float))):
        for name in names:
            value = trial[name]
            wrong = value is not None and (not isinstance(value, kind) or isinstance(value, bool))
            if wrong or (isinstance(value, int) and abs(value) >= 2**63):
                _damaged(path, f"{TRIAL} has {name}={value!r}")
            found[name] = value
    found["epochs"] = found["epochs"] or 0
    found |= {name: _time(path, trial[name]) for name in _TIMES}
    return found


def _curve(path: Path, file: zipfile.ZipFile) -> list[EpochRow]:
    rows = []
    for line in _lines(path, file, CURVE, [f.name for f in fields(EpochRow)]):
        try:
            numbers = {key: _number(value) for key, value in line.items() if key not in ("epoch", "extra")}
            extra = json.loads(line["extra"] or "{}", parse_constant=_no_constant, parse_float=_finite)
            row = EpochRow(epoch=int(line["epoch"]), extra=extra, **numbers)  # type: ignore[arg-type]
        except (ValueError, TypeError) as error:
            _damaged(path, f"{CURVE} cannot be read: {error}")
        rows.append(row)
    if [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
        _damaged(path, f"{CURVE} must have the epochs 1 to {len(rows)}")
    return rows


def _decisions(path: Path, file: zipfile.ZipFile) -> list[DecisionRow]:
    rows = []
    for line in _lines(path, file, DECISIONS, [f.name for f in fields(DecisionRow)]):
        try:
            row = DecisionRow(
                trial_id="", epoch=int(line["epoch"]), scheduler=line["scheduler"][:40],
                rung=int(line["rung"]) if line["rung"] else None, value=_number(line["value"]),
                cutoff=_number(line["cutoff"]), decision=line["decision"][:20], created=_time(path, line["created"] or None),
            )  # fmt: skip
        except ValueError as error:
            _damaged(path, f"{DECISIONS} cannot be read: {error}")
        rows.append(row)
    return rows


def _lines(path: Path, file: zipfile.ZipFile, name: str, header: list[str]) -> list[dict[str, str]]:
    try:
        lines = list(csv.reader(io.StringIO(file.read(name).decode(), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        _damaged(path, f"{name} cannot be read: {error}")
    if not lines or lines[0] != header or any(len(line) != len(header) for line in lines):
        _damaged(path, f"{name} must have the columns {', '.join(header)}")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _number(text: str) -> float | None:
    return _finite(text) if text else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _json(path: Path, file: zipfile.ZipFile, name: str) -> dict[str, Any]:
    try:
        found = json.loads(file.read(name), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        _damaged(path, f"{name} is not JSON: {error}")
    if not isinstance(found, dict):
        _damaged(path, f"{name} is no dictionary")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _time(path: Path, text: object) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        _damaged(path, f"{text!r} is no time")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _word(name: object) -> str:
    """A feed-forward kind as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9_]+", "_", str(name))[:60] or "trial"


def _damaged(path: Path, why: str) -> NoReturn:
    raise InputError(f"The bundle {path} is damaged or was made by something else: {why[:300]}; ask for it again.")
