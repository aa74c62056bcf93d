"""The file that takes one trial to another machine: what is in it, and how it is written.

A zip with
    bundle.json            format, version, the ids, and sha256 and size of every other file
    README.md              how to open it
    search.json trial.json the rows of the store, times in ISO 8601
    curve.csv              one line an epoch, `extra` as JSON
    decisions.csv          what the scheduler decided of the trial
    selected.pt            the tested checkpoint, weights only; where the trial keeps one
    predictions.npz        the classes that it predicts for validation and test images; likewise
    code/changes.diff      what was not committed when the search ran
    code/variant.py        the feed-forward kind as it was, where it was not committed
    code/variants/*.py     kinds from outside of Arbor that the search was given
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from results.errors import InputError
from results.images import PREDICTIONS
from results.rows import DecisionRow, EpochRow, SearchRow, TrialRow
from results.store import ENDED, Store
from results.targets import writing

FORMAT, VERSION = "arbor-bundle", 1
MANIFEST, README, SEARCH, TRIAL, CURVE, DECISIONS = (
    "bundle.json", "README.md", "search.json", "trial.json", "curve.csv", "decisions.csv",
)  # fmt: skip
SELECTED = "selected.pt"
DIFF, VARIANT, VARIANTS = "code/changes.diff", "code/variant.py", "code/variants/"
LARGEST_SOURCE = 1_000_000
"""Bytes of a Python file beyond which it is not taken for a variant."""


def write_bundle(store: Store, trial_id: str, path: Path) -> list[str]:
    """Write the bundle of a trial that has ended; returns the names of what is in it.

    Raises:
        InputError: no such trial, or one that has not ended or was imported; a file of it that cannot be read.
    """
    row = store.trial(trial_id)
    if row.provenance.get("imported"):
        raise InputError(f"{trial_id} was imported from a text file and has no code or checkpoint to take along.")
    if row.status not in ENDED:
        raise InputError(f"A bundle needs a trial that has ended, but {trial_id} is {row.status}; wait, or stop it.")
    search = store.search(row.search_id)
    decisions = [each for each in store.decisions(row.search_id) if each.trial_id == trial_id]
    content: dict[str, bytes | Path] = {
        SEARCH: _json(asdict(search)),
        TRIAL: _json(asdict(row)),
        CURVE: _csv(EpochRow, store.epochs(trial_id)),
        DECISIONS: _csv(DecisionRow, decisions),
    }
    folder = Path(row.provenance.get("folder") or "")
    for name in (SELECTED, PREDICTIONS):
        if row.provenance.get("folder") and (folder / name).is_file():
            content[name] = folder / name
    if search.provenance.get("diff"):
        content[DIFF] = str(search.provenance["diff"]).encode(errors="backslashreplace")
    if row.provenance.get("variant_source"):
        content[VARIANT] = str(row.provenance["variant_source"]).encode(errors="backslashreplace")
    content |= {f"{VARIANTS}{file.name}": file for file in _sources(search.settings.get("variants") or [])}
    content[README] = _readme(row, search, sorted(content)).encode()
    _write(content, row, path)
    return [MANIFEST, *sorted(content)]


def _write(content: dict[str, bytes | Path], row: TrialRow, path: Path) -> None:
    """Atomically; what is compressed already is stored as it is."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
                files = {}
                for name, source in sorted(content.items()):
                    data = source if isinstance(source, bytes) else _bytes(source)
                    files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
                    stored = zipfile.ZIP_STORED if name == PREDICTIONS else zipfile.ZIP_DEFLATED
                    file.writestr(name, data, compress_type=stored)
                head = {"format": FORMAT, "version": VERSION, "trial": row.id, "search": row.search_id, "files": files}
                file.writestr(MANIFEST, json.dumps(head, indent=1))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The file {path} cannot be read ({error.strerror}); mend that, or bundle another.") from error


def _json(values: dict[str, Any]) -> bytes:
    def plain(value: object) -> str:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    return json.dumps(values, indent=1, default=plain).encode()


def _csv(kind: type[EpochRow] | type[DecisionRow], rows: Sequence[Any]) -> bytes:
    """All columns of the rows: floats to their last bit, what is missing empty, dictionaries as JSON."""
    names = [f.name for f in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value) if isinstance(value, dict) else value if isinstance(value, str) else repr(value)


def _sources(paths: Sequence[str]) -> list[Path]:
    """The Python files of feed-forward kinds outside of Arbor, those that are still there."""
    files = [file for path in map(Path, paths) for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    named = {
        file.name: file
        for file in files
        if file.is_file() and file.stat().st_size <= LARGEST_SOURCE and file.stem.isidentifier()
    }
    return list(named.values())


def _readme(row: TrialRow, search: SearchRow, names: list[str]) -> str:
    commit = row.provenance.get("git_commit") or search.provenance.get("git_commit") or "unknown"
    state = " with changes (code/changes.diff)" if DIFF in names else ""
    outside = [name for name in names if name.startswith(VARIANTS)]
    trust = " --trust-code" if outside else ""
    seen = (
        f"\nIt was trained with feed-forward kinds from outside of Arbor ({', '.join(outside)}). They are Python code: read "
        "them, then let them be loaded with --trust-code.\n"
        if outside
        else ""
    )
    accuracy = "none" if row.val_acc is None else f"{100 * row.val_acc:.2f} %"
    return f"""# {row.id}: one trial of Arbor

{search.question}

Status {row.status} after {row.epochs} epochs, validation accuracy {accuracy}. Trained by git commit {commit}{state}.

Open it with an Arbor of that commit or a later one:

    python -m results.bundle --open FILE.zip{trust}

It prints the id under which the trial is in your store then; with that id

    python -m results.show          its row
    python -m trainer.evaluate ID   the checkpoint's accuracy (--data names the data set, if it is not where it was)
    python -m trainer.replay ID     trains it again, and says whether the curve came back
{seen}
Without Arbor: trial.json has every setting under "config", curve.csv the curve, selected.pt the weights
(`torch.load(..., weights_only=True)`), predictions.npz the predicted classes.
"""
