"""A table on a terminal, with the question above it and what its numbers can show below."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from results.cells import TEXT, cells, columns, last_of_best
from results.frames import Frames
from results.table import COMPLETE, Table, variants
from results.text import missing, percent, plain, short

NARROW = 95
"""Columns of a terminal below which cells stand closer."""


def print_search(frames: Frames, search_id: str, console: Console, *, everything: bool = False) -> None:
    """The question, the table, what all rows share, and what the numbers can show."""
    print_table(frames, variants(frames, search_id, everything=everything), console)


def print_table(frames: Frames, table: Table, console: Console) -> None:
    """The same of one search or of several."""
    console.print()
    for name in table.searches:
        _print_head(frames, name, console, screening=table.is_screening)
    if table.common:
        shared = ", ".join(f"{key}={short(value)}" for key, value in table.common.items() if not missing(value))
        console.print(Text(f"All rows: {plain(shared)}", style="dim"))
    for line in table.protocols:
        console.print(Text(plain(line)))
    if len(table.rows):
        console.print(_rich(table, console.width))
    if table.hidden:
        console.print(f"{table.hidden} more stopped variants are shown by --all.", highlight=False)
    for note in table.notes:
        console.print(Text(note))


def _print_head(frames: Frames, name: str, console: Console, *, screening: bool) -> None:
    search = frames.search(name)
    trials = frames.trials[frames.trials["search_id"] == name]
    counts = Counter(trials["status"]) if len(trials) else Counter()
    states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print(Text(f"{name}: {plain(search['question'])}", style="bold"))
    label = "; screening" if screening else ""
    console.print(
        Text(
            f"{search['status']}, {search['created']:%Y-%m-%d %H:%M} UTC; {len(trials)} trials: {states or 'none'}{label}"
        ),
        soft_wrap=True,
    )
    if search["status"] == "interrupted":
        console.print(
            f"Go on with: python -m search.run --resume {name}", highlight=False, markup=False, soft_wrap=True
        )
    for column in ("notes", "tags"):
        if search[column]:
            value = ", ".join(search[column]) if column == "tags" else search[column]
            console.print(Text(f"{column}: {plain(value)}", style="italic"))


def _rich(table: Table, width: int) -> RichTable:
    narrow = width < NARROW
    result = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1), pad_edge=False)
    names = columns(table)
    seconds = next(name for name in names if name in ("GPU s", "wall s"))
    # what one can do without, first things first; a second search or group takes a column more
    wider = 15 * sum(name in names for name in ("search", "group", "searched %")) + 15 * (
        {"val %", "test-best %"} <= set(names)
    )
    needs = {"MACs": 130 if table.is_comparison else 120, "best %": 115, seconds: 108, "neurons": 98, "seeds": 90}
    for name, least in {**needs, "epochs": 78, "test %": 68, "params": 60}.items():
        if name in names and width < least + wider and (name != "seeds" or not table.is_comparison):
            names.remove(name)
    for name in names:
        wide = name in TEXT
        justify: Any = "left" if wide else "right"
        least_width = 10 if narrow and wide else None  # the longest words stay whole: diverged, interrupted
        ratio = 3 if name == "variant keys" else None
        result.add_column(name, justify=justify, overflow="fold", no_wrap=not wide, ratio=ratio, min_width=least_width)
    last = last_of_best(table)
    for row in table.rows.to_dict("records"):
        texts = cells(row, table, last)
        style = "bold" if texts["rank"].split("-")[0] == "1" else "dim" if not row["complete"] else None
        result.add_row(*(Text(texts[name]) for name in names), style=style)
    return result


def print_searches(frames: Frames, searches: pd.DataFrame, console: Console) -> None:
    """One line a search."""
    result = RichTable(box=box.SIMPLE_HEAD)
    for name in ("search", "created", "status", "trials", "best val %", "question"):
        result.add_column(name, justify="right" if name in ("trials", "best val %") else "left")
    for row in searches.to_dict("records"):
        count = int((frames.trials["search_id"] == row["id"]).sum())
        trials = frames.trials_of(row["id"])
        best = trials.loc[trials["status"].isin(COMPLETE), "val_acc"].max() if len(trials) else math.nan
        texts = (row["id"], f"{row['created']:%Y-%m-%d %H:%M}", row["status"], count, percent(best))
        result.add_row(*(Text(plain(value)) for value in (*texts, row["question"])))
    console.print(result)
