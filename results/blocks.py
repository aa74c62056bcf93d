"""Text files of cifar10deepspeed: one block a run, lines `name: value` under a line `Experiment:`.

    Experiment:
                    name: vary_depth
                    arch: vit_tiny
                  params: patch_size=4,dim=512,depth=4,heads=6,mlp_dim=256
            best_val_acc: 85.64
               end_epoch: 185

https://github.com/catid/cifar10deepspeed. Its writer leaves out what is empty or zero, and older versions had fewer fields.
`best_val_acc` is in percent, of the best epoch on the test images; the two losses are of that epoch; epochs count from 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

FORMAT = "cifar10deepspeed"
BEGIN = "Experiment:"
HYPERPARAMETERS = ("name", "notes", "arch", "optimizer", "scheduler", "lr", "weight_decay", "max_epochs")
"""Fields that tell one variant from another; `params` and `git_hash` do, too."""
LARGEST = 2**63 - 1
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_NOTHING = frozenset({"", "none", "null"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Malformed:
    """A block that cannot be read."""

    line: int
    """From 1: where the block is broken."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """One run, as the store takes it."""

    line: int
    """From 1: where the block begins."""
    config: dict[str, Any]
    """What tells its variant from others, and its seed where it has one."""
    columns: dict[str, Any]
    """Columns of the trial's row."""
    imported: dict[str, Any]
    """What no column of the store means: the accuracy and the losses of the best epoch on test, and every field as text."""


def read_blocks(text: str) -> tuple[list[Block], list[Malformed]]:
    """Every block of a file, and those that cannot be read, each with its line."""
    blocks: list[Block] = []
    malformed: list[Malformed] = []
    begin: int | None = None
    fields: dict[str, tuple[int, str]] = {}
    broken: Malformed | None = None

    def end() -> None:
        if broken is not None:
            malformed.append(broken)
        elif begin is not None and not fields:
            malformed.append(Malformed(line=begin, reason="the block has no field"))
        elif begin is not None:
            block = _block(begin, fields)
            (blocks if isinstance(block, Block) else malformed).append(block)  # type: ignore[arg-type]

    for number, raw in enumerate(re.split(r"\r\n|\n|\r", text), start=1):  # not at a form feed, as splitlines would
        line = raw.strip()
        if line.startswith(BEGIN):
            end()
            begin, fields, broken = number, {}, None
            line = line.removeprefix(BEGIN).strip()
            if line:
                fields["Experiment"] = (number, line)
        elif not line or broken is not None:
            continue
        elif begin is None:
            broken = Malformed(line=number, reason=f'the file must begin with "{BEGIN}", but has {_shown(line)}')
        else:
            broken = _take(line, number, fields)
    end()
    return blocks, malformed


def _take(line: str, number: int, fields: dict[str, tuple[int, str]]) -> Malformed | None:
    """Put one line into the fields, or say what is wrong with it."""
    name, colon, value = line.partition(":")
    name = name.strip()
    if not colon or not name:
        return Malformed(line=number, reason=f'a line must be "name: value", but is {_shown(line)}')
    if name in fields:
        return Malformed(
            line=number, reason=f'"{name}" stands twice in one block; is a line "{BEGIN}" missing between the two?'
        )
    fields[name] = (number, value.strip())
    return None


class _UnreadableError(ValueError):
    """A field that is not what it must be."""

    def __init__(self, line: int, reason: str) -> None:
        self.found = Malformed(line=line, reason=reason)


def _block(begin: int, fields: Mapping[str, tuple[int, str]]) -> Block | Malformed:
    try:
        accuracy = _number(fields, "best_val_acc", low=0, high=100)
        last_epoch = _integer(fields, "end_epoch")
        seconds = _number(fields, "train_seconds", low=0)
        parameters = _integer(fields, "num_params")
        seed = _integer(fields, "seed")
        losses = {name: _number(fields, name) for name in ("best_train_loss", "best_val_loss")}
    except _UnreadableError as error:
        return error.found
    texts = {name: value for name, (_, value) in fields.items()}
    commit = texts.get("git_hash", "")
    ended = _time(texts.get("timestamp", ""))
    return Block(
        line=begin,
        config=_config(texts, seed),
        columns={
            "epochs": 0 if last_epoch is None else last_epoch + 1,
            "parameters": parameters,
            "wall_seconds": seconds,
            "ended": ended,
        },
        imported={
            "best_test_acc": None if accuracy is None else accuracy / 100,
            "best_test_loss": losses["best_val_loss"],
            "best_train_loss": losses["best_train_loss"],
            "last_epoch": last_epoch,
            "seed": seed,
            "git_commit": commit if _COMMIT.fullmatch(commit) else None,
            "fields": texts,
        },
    )


def _config(texts: Mapping[str, str], seed: int | None) -> dict[str, Any]:
    """The dictionary of the run: a field of `params` as `params.NAME`, one that this file does not know as `extra.NAME`."""
    config: dict[str, Any] = {name: _value(texts[name]) for name in HYPERPARAMETERS if name in texts}
    if "params" in texts:
        config |= _params(texts["params"])
    if _COMMIT.fullmatch(texts.get("git_hash", "")):
        config["git_hash"] = texts["git_hash"][:10]  # schedule and batch are in the code, not in the file
    known = {*HYPERPARAMETERS, "params", "git_hash", "best_val_acc", "best_train_loss", "best_val_loss", "end_epoch"}
    known |= {"train_seconds", "num_params", "timestamp", "seed"}
    config |= {f"extra.{name}": _value(text) for name, text in texts.items() if name not in known}
    return config if seed is None else {**config, "seed": seed}


def _params(text: str) -> dict[str, Any]:
    """`dim=512,depth=4` as entries of their own; as one text where it is not of that form."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    names = [name.strip() for name, _, _ in pairs]
    if not pairs or not all(equals and name for name, (_, equals, _) in zip(names, pairs, strict=True)):
        return {"params": _value(text)}
    if len(set(names)) < len(names):
        return {"params": text}
    return {f"params.{name}": _value(value) for name, (_, _, value) in zip(names, pairs, strict=True)}


def _value(text: str) -> Any:
    """A whole number, a number, text, or nothing where it is empty or not finite."""
    text = text.strip()
    if text.lower() in _NOTHING:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return None
    try:
        return int(text) if abs(number) <= LARGEST else text
    except ValueError:
        return number


def _number(
    fields: Mapping[str, tuple[int, str]], name: str, low: float = -math.inf, high: float = math.inf
) -> float | None:
    """A field as a number; none where it is missing, empty or not finite. Raises _UnreadableError for anything else."""
    line, text = fields.get(name, (0, ""))
    if text.lower() in _NOTHING:
        return None
    try:
        value = float(text)
    except ValueError:
        raise _UnreadableError(line, f'"{name}" must be a number, but is {_shown(text)}') from None
    if not math.isfinite(value):
        return None
    if not low <= value <= high:
        allowed = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
        raise _UnreadableError(line, f'"{name}" must be {allowed}, but is {_shown(text)}')
    return value


def _integer(fields: Mapping[str, tuple[int, str]], name: str) -> int | None:
    value = _number(fields, name, low=0, high=LARGEST)
    line, text = fields.get(name, (0, ""))
    if value is None:
        return None
    if not value.is_integer():
        raise _UnreadableError(line, f'"{name}" must be a whole number, but is {_shown(text)}')
    return min(int(text) if text.isdecimal() else int(value), LARGEST)


def _time(text: str) -> datetime | None:
    """When the run ended; read as UTC, for the file names no zone."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
