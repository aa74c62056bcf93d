"""JSON and CSV from anybody as plain values, of which every database, file and terminal can take each."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

DEEPEST = 40
"""So many dictionaries and lists may lie in one another; a search's settings have six."""
LARGEST = 2**63
"""Whole numbers are smaller than this: no database has wider ones."""
YEARS = range(1970, 2200)
"""Of times that every calendar can count with."""
LONGEST_CELL = 64_000_000
"""Characters: the visits of all leaves of an epoch stand in one cell."""
_UNKEPT = re.compile(r"[\x00\ud800-\udfff]")
"""NUL, which PostgreSQL refuses, and halves of characters, which UTF-8 has not."""


class DamagedError(Exception):
    """What no honest file has; the message is the end of a sentence that says so."""


def dictionary(name: str, text: bytes | str) -> dict[str, Any]:
    """The dictionary that a file or cell holds as JSON. Raises DamagedError."""
    try:
        found = json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{name} is no dictionary")
    _require_kept(name, found)
    return found


def table(name: str, content: bytes, header: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a CSV file that has exactly these columns. Raises DamagedError."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        text = content.decode()
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedError(f"{name} cannot be read: {error}") from error
    finally:
        csv.field_size_limit(before)
    if not lines or lines[0] != list(header) or any(len(line) != len(header) for line in lines):
        raise DamagedError(f"{name} must have the columns {', '.join(header)}")
    if "\0" in text:
        raise DamagedError(f"{name} has the character NUL")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def real_cell(name: str, text: str) -> float | None:
    """A number of a CSV file, none where its cell is empty. Raises DamagedError."""
    try:
        return _finite(text) if text else None
    except ValueError as error:
        raise DamagedError(f"{name} cannot be read: {error}") from error


def whole_cell(name: str, text: str, least: int = 0) -> int:
    """A whole number of a CSV file that fits into 32 bits. Raises DamagedError."""
    try:
        found = int(text)
    except ValueError as error:
        raise DamagedError(f"{name} cannot be read: {error}") from error
    if not least <= found < 2**31:
        raise DamagedError(f"{name} has the number {found}")
    return found


def time(name: str, text: object) -> datetime | None:
    """A time in ISO 8601, UTC where it does not say; none stays none. Raises DamagedError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise DamagedError(f"{name} has {text!r}, which is no time") from None
    if found.year not in YEARS:
        raise DamagedError(f"{name} has a time in the year {found.year}")
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _require_kept(name: str, found: object) -> None:
    level = [found]
    for _ in range(DEEPEST):
        dictionaries = [each for each in level if isinstance(each, dict)]
        texts = [each for each in level if isinstance(each, str)] + [key for each in dictionaries for key in each]
        if any(_UNKEPT.search(text) for text in texts):
            raise DamagedError(f"{name} has a character that is no text (NUL or half a character)")
        level = [value for each in dictionaries for value in each.values()] + [
            value for each in level if isinstance(each, list) for value in each
        ]
        if not level:
            return
    raise DamagedError(f"{name} is nested deeper than {DEEPEST} dictionaries and lists")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= LARGEST:
        raise ValueError(f"{text[:30]} has more than 64 bits")
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
