"""Text from the store, made safe for a terminal and for a spreadsheet."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def plain(text: object) -> str:
    """Without control characters, so that a note cannot move the cursor or colour the screen."""
    return _CONTROL.sub("", str(text))


def cell(value: object) -> Any:
    """A value for CSV: text without control characters, and with an apostrophe where a spreadsheet would take it for a
    formula."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return "'" + text if text.lstrip()[:1] in ("=", "+", "-", "@") else text


def missing(value: object) -> bool:
    """Whether a cell of a frame holds nothing: none, NaN, or pandas' NA and NaT."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType")


def short(value: object) -> str:
    """A value of a trial's dictionary in few characters."""
    if isinstance(value, float):
        return f"{value:.3g}" if not value.is_integer() or abs(value) >= 1e6 else str(int(value))
    return str(value)


def keys_text(row: Mapping[Any, Any], varying: list[str]) -> str:
    """The keys that make a variant, shortened: `fff depth=3 trees=4 lr=0.0021`."""
    words = []
    for key in varying:
        value = row.get(key)
        if key == "seed" or missing(value):
            continue
        if key in ("ffn", "layout", "arch"):
            words.append(short(value))
        else:
            words.append(f"{key.rpartition('.')[2]}={short(value)}")
    return " ".join(words) or str(row["variant"])


def percent(value: float, digits: int = 2) -> str:
    """A fraction as a percentage; nothing where it is missing."""
    return "" if missing(value) else f"{100 * value:.{digits}f}"


def counted(count: int, word: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def amount(value: float) -> str:
    """A count with its thousands apart, or shortened to millions; nothing where it is missing."""
    if missing(value):
        return ""
    return f"{value / 1e6:.1f} M" if value >= 1e7 else f"{int(value):,}"
