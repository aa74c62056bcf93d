"""The cells of a printed table, the same on a screen, in LaTeX and in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from results.confirmed import SEARCHED
from results.ranks import rank_text
from results.table import Table
from results.text import amount, keys_text, missing, percent, plain, short

TEXT = ("search", "variant keys", "status")
"""Columns of words; the others are numbers."""


def columns(table: Table) -> list[str]:
    """The columns of a table, in order: those that have something to say."""
    rows = table.rows
    trained, imported = (rows["imported"] == "").any(), (rows["imported"] != "").any()
    names = ["rank"]
    if "front" in rows:
        names.append("front")
    if rows["group"].nunique() > 1:
        names.append("group")
    if len(table.searches) > 1:
        names.append("search")
    names += ["variant keys", "seeds"]
    if trained:
        if SEARCHED in rows:
            names.append("searched %")
        names.append("val %")
        if table.is_comparison:
            names.append("test %")
        names.append("best %")
    if imported:
        names.append("test-best %")
    names.append("params")
    if trained:
        names += ["neurons", "MACs"]
        if rows["latency_seconds"].notna().any():
            names.append("latency ms")
    names += ["epochs", "GPU s" if (rows["gpu_seconds"] > 0).any() else "wall s", "status"]
    return names


def cells(row: Mapping[Any, Any], table: Table) -> dict[str, str]:
    """Every cell of a row by its column."""
    return {
        "rank": rank_text(row, table.spans),
        "front": "*" if row.get("front") else "",
        "group": str(row["group"]),
        "search": plain(row["search"]),
        "variant keys": plain(keys_text(row, table.telling)),
        "seeds": f"{row['seeds']}/{row['planned']}",
        "searched %": percent(row.get(SEARCHED, math.nan)),
        "val %": _value(row),
        "test %": percent(row["test_acc"]),
        "best %": percent(row["best_val_acc"]),
        "test-best %": _with_interval(row["best_test_acc"], row["best_test_interval"]),
        "params": amount(row["parameters"]),
        "neurons": amount(row["neurons_used"]),
        "MACs": amount(row["macs"]),
        "latency ms": "" if missing(row["latency_seconds"]) else f"{1e3 * row['latency_seconds']:.3g}",
        "epochs": str(row["epochs_run"]) if row["epochs_run"] or not row["imported"] else "",
        "GPU s": _seconds(row, row["gpu_seconds"] if row["gpu_seconds"] > 0 else row["wall_seconds"]),
        "wall s": _seconds(row, row["wall_seconds"]),
        "status": "imported" if row["imported"] else plain(row["status"]),
    }


def shared_keys(of_all: Mapping[str, Any], of_kinds: Mapping[str, Any]) -> dict[str, str]:
    """What all rows share, then what those of each kind do, by `All rows` and `All fff rows`."""
    lines: dict[str, list[str]] = {
        "All rows": [f"{key}={short(value)}" for key, value in of_all.items() if not missing(value)]
    }
    for key, value in of_kinds.items():
        _, kind, name = key.split(".", 2)
        if not missing(value):
            lines.setdefault(f"All {kind} rows", []).append(f"{name}={short(value)}")
    return {whose: ", ".join(words) for whose, words in lines.items() if words}


def _value(row: Mapping[Any, Any]) -> str:
    """The ranked value with its interval; in parentheses where it is a trial's at an epoch before its end."""
    value = percent(row["val_acc"])
    if not value:
        return ""
    return _with_interval(row["val_acc"], row["interval"]) if row["complete"] else f"({value})"


def _seconds(row: Mapping[Any, Any], seconds: float) -> str:
    return "" if missing(seconds) or (row["imported"] and not seconds) else f"{seconds:,.0f}"


def _with_interval(value: float, half: float) -> str:
    return percent(value) if missing(half) else f"{percent(value)} ± {percent(half)}"


def trial_of(row: Mapping[Any, Any]) -> str:
    """The number of the row's trial in its search, as in `.7`, with the number of further seeds."""
    first, *others = row["trials"]
    number = f".{first.rpartition('.')[2]}"
    return f"{number} +{len(others)}" if others else number
