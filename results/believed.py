"""What of a bundle's rows is believed: of each the values that an honest one has, each of its type, and nothing else.

Whoever reads the store takes it for our own writing. One row whose provenance held a list in place of a name would break
every table, picture and page of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from results.losses import LOSSES, Loss
from results.rows import DecisionRow, EpochRow, TrialRow
from results.store import ENDED
from results.tuned import GIVEN, LR_TUNING
from results.untrusted import DamagedError, dictionary, real_cell, time, whole_cell

Check = Callable[[object], bool]


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_small(value: object) -> bool:
    return _is_whole(value) and value < 2**31


def _is_real(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_fraction(value: object) -> bool:
    return _is_real(value) and 0 <= value <= 1


def _is_amount(value: object) -> bool:
    """Seconds, or a number of that order: sums of many stay finite."""
    return _is_real(value) and 0 <= value < 1e12


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | None)


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(each is None or isinstance(each, str) for each in value.values())


def _are_losses(value: object) -> bool:
    return isinstance(value, list) and all(map(Loss.is_plain, value))


def _are_changes(value: object) -> bool:
    """What a resumed search noted (`search/changes.py`)."""
    return isinstance(value, list) and all(
        isinstance(change, dict)
        and all(
            _is_text(each) or _is_whole(each) or (isinstance(each, list) and all(map(_is_text, each)))
            for each in change.values()
        )
        for change in value
    )


_PROCESS: Mapping[str, Check] = {
    "git_commit": _or_none(_is_text),
    "dirty": _or_none(_is_flag),
    "source_hash": _or_none(_is_text),
    "versions": _are_texts,
    "gpu": _or_none(_is_text),
    "cpu": _or_none(_is_text),
    "hostname": _or_none(_is_text),
    "device": _or_none(_is_text),
    "threads": _or_none(_is_small),
}
"""What `trainer/fingerprint.py` says of a process."""
_OF_TRIAL: Mapping[str, Check] = {
    **_PROCESS,
    "data_checksum": _or_none(_is_text),
    "precision": _or_none(_is_text),
    "workers": _is_small,
    "optimizer": _or_none(_is_text),
    "variant_source": _or_none(_is_text),
    "gpu_memory_bytes": _or_none(_is_whole),
    "attempt": _is_small,
    LOSSES: _are_losses,
    GIVEN: _is_text,
    LR_TUNING: _is_real,
}
"""No place on the machine that it came from and no process there; and no `imported`, whose trials nobody can bundle."""
_OF_SEARCH: Mapping[str, Check] = {
    **_PROCESS,
    "diff": _is_text,
    "command": _is_text,
    "variant_hashes": _are_texts,
    "changes": _are_changes,
}
"""No process that drives it: the number may be another's here."""
SETTINGS: Mapping[str, Check] = {
    **dict.fromkeys(("data", "ffn", "layout", "optimizer", "schedule", "augment", "select", "precision"), _is_text),
    **dict.fromkeys(("dim", "depth", "heads", "patch", "classes", "image_size"), _is_small),
    **dict.fromkeys(("seed", "epochs", "batch_size", "accumulation", "cycle_steps", "zero_stage"), _is_small),
    **dict.fromkeys(("dropout", "lr", "weight_decay", "warmup_epochs", "clip_norm", "label_smoothing"), _is_amount),
    **dict.fromkeys(("compile", "deterministic"), _is_flag),
    "patience": _or_none(_is_small),
}
"""The keys of a trial's dictionary but for those of its feed-forward kind, as `trainer/config.py` has them: a new key there
is one here. Any other name could be that of a column in a table."""
_OF_A_KIND = re.compile(r"ffn\.[^.]{1,80}\.[^\W\d]\w{0,80}")
_COLUMNS: Mapping[str, Check] = {
    "cause": _or_none(_is_text),
    "epochs": _or_none(_is_small),
    "best_epoch": _or_none(_is_small),
    **dict.fromkeys(("parameters", "neurons_used", "macs", "macs_conditional"), _or_none(_is_whole)),
    **dict.fromkeys(("train_loss", "val_loss", "test_loss"), _or_none(_is_real)),
    **dict.fromkeys(("val_acc", "best_val_acc", "test_acc"), _or_none(_is_fraction)),
    **dict.fromkeys(("wall_seconds", "gpu_seconds"), _or_none(_is_amount)),
}
_MEASURED: Mapping[str, Check] = {
    "val_acc": _or_none(_is_fraction),
    **dict.fromkeys(("lr", "train_seconds", "val_seconds", "images_per_second"), _is_amount),
}
"""Columns of an epoch that are in a range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchWords:
    """What a bundle says of the search that its trial was part of."""

    question: str
    notes: str
    settings: dict[str, Any]
    provenance: dict[str, Any]


def search_words(name: str, search: Mapping[str, Any]) -> SearchWords:
    """Of a search's row what is taken over. Raises DamagedError."""
    settings, provenance = search.get("settings"), search.get("provenance")
    if not isinstance(settings, dict) or not isinstance(provenance, dict):
        raise DamagedError(f"{name} has no dictionary of the search's settings or of its provenance")
    for key in ("question", "notes"):
        _require(name, key, search.get(key), _is_text)
    return SearchWords(
        question=search["question"],
        notes=search["notes"],
        settings=settings,
        provenance=_known(name, provenance, _OF_SEARCH),
    )


def trial_columns(name: str, trial: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a trial's row that are taken over, its provenance among them. Raises DamagedError."""
    if set(trial) != {f.name for f in fields(TrialRow)} or trial["status"] not in list(ENDED):
        raise DamagedError(f"{name} is not the row of a trial that has ended")
    if not isinstance(trial["provenance"], dict):
        raise DamagedError(f"{name} has no dictionary of the trial's provenance")
    for column, check in _COLUMNS.items():
        _require(name, column, trial[column], check)
    return {
        "config": _config(name, trial["config"]),
        "status": trial["status"],
        **{column: trial[column] for column in _COLUMNS},
        "epochs": trial["epochs"] or 0,
        **{column: time(name, trial[column]) for column in ("started", "ended")},
        "provenance": _known(name, trial["provenance"], _OF_TRIAL),
    }


def epoch_rows(name: str, lines: Sequence[Mapping[str, str]]) -> list[EpochRow]:
    """The lines of a curve, epochs from 1 on. Raises DamagedError."""
    rows = []
    for line in lines:
        numbers = {key: real_cell(name, value) for key, value in line.items() if key not in ("epoch", "extra")}
        for key, check in _MEASURED.items():
            _require(name, key, numbers[key], check)
        epoch, extra = whole_cell(name, line["epoch"]), dictionary(name, line["extra"] or "{}")
        if not _is_trees(extra.get("trees", {})):
            raise DamagedError(f"{name} has another count of leaves than trees have")
        rows.append(EpochRow(epoch=epoch, extra=extra, **numbers))  # type: ignore[arg-type]
    if [row.epoch for row in rows] != list(range(1, len(rows) + 1)):
        raise DamagedError(f"{name} must have the epochs 1 to {len(rows)}")
    return rows


def decision_rows(name: str, lines: Sequence[Mapping[str, str]]) -> list[DecisionRow]:
    """The lines of a scheduler's decisions, one an epoch. Raises DamagedError."""
    rows = [
        DecisionRow(
            trial_id="", epoch=whole_cell(name, line["epoch"]), scheduler=line["scheduler"][:40],
            rung=whole_cell(name, line["rung"]) if line["rung"] else None, value=real_cell(name, line["value"]),
            cutoff=real_cell(name, line["cutoff"]), decision=line["decision"][:20],
            created=time(name, line["created"] or None),
        )
        for line in lines
    ]  # fmt: skip
    if len({(row.epoch, row.scheduler) for row in rows}) < len(rows):
        raise DamagedError(f"{name} has two decisions of one epoch")
    return rows


def _config(name: str, config: object) -> dict[str, Any]:
    if not isinstance(config, dict) or not config:
        raise DamagedError(f"{name} has no dictionary of the trial's settings")
    for key, value in config.items():
        if key not in SETTINGS and not _OF_A_KIND.fullmatch(key):
            raise DamagedError(f"{name} has the setting {key!r}, which no trial has")
        _require(name, key, value, SETTINGS.get(key, _is_plain))
    return config


def _known(name: str, found: Mapping[str, Any], checks: Mapping[str, Check]) -> dict[str, Any]:
    """Of a provenance the entries that are listed; others are left out, so that what is new needs a look here first."""
    for key in checks.keys() & found.keys():
        _require(name, key, found[key], checks[key])
    return {key: value for key, value in found.items() if key in checks}


def _require(name: str, key: str, value: object, check: Check) -> None:
    if not check(value):
        raise DamagedError(f"{name} has {key}={value!r}")


def _is_trees(found: object) -> bool:
    """Whether this is what `trainer/diagnostics.py` says of trees: visits, tree by tree, and numbers."""
    if not isinstance(found, dict):
        return False
    visits, modules = found.get("leaf_visits", {}), found.get("modules", {})
    return (
        isinstance(visits, dict)
        and all(map(_is_visits, visits.values()))
        and isinstance(modules, dict)
        and all(map(_are_figures, modules.values()))
        and _are_figures({key: value for key, value in found.items() if key not in ("leaf_visits", "modules")})
    )


def _is_visits(trees: object) -> bool:
    """A row a tree, as many whole numbers in each."""
    return (
        isinstance(trees, list)
        and bool(trees)
        and all(isinstance(tree, list) and tree and all(map(_is_small, tree)) for tree in trees)
        and len({len(tree) for tree in trees}) == 1
    )


def _are_figures(found: object) -> bool:
    """Numbers, or lists of them, by name; what is not defined is none."""
    number = _or_none(_is_real)
    return isinstance(found, dict) and all(
        number(value) or (isinstance(value, list) and all(map(number, value))) for value in found.values()
    )
