"""A table on a terminal, with the question above it and what its numbers can show below."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from results.cells import TEXT, cells, columns, shared_keys, trial_of
from results.driver_life import Life, life, silent_seconds
from results.frames import Frames
from results.period import period
from results.ranks import is_alike
from results.table import COMPLETE, Table, variants
from results.text import counted, percent, plain

NARROW = 95
"""Columns of a terminal below which cells stand closer."""
DISPENSABLE = ("MACs", "best %", "GPU s", "wall s", "neurons", "epochs", "test %", "params")
"""Columns that a narrow table does without, the first first."""
QUESTION_WIDTH = 36
"""Columns that a question needs to stand beside its search."""


def print_table(frames: Frames, table: Table, console: Console) -> None:
    """The questions, the table of one search or of several, what all rows share, and what the numbers can show."""
    console.print()
    for name in table.searches:
        _print_head(frames, name, console, screening=table.is_screening)
    for whose, shared in shared_keys(table.common, table.by_kind).items():
        console.print(Text(f"{plain(whose)}: {plain(shared)}", style="dim"))
    for line in table.protocols:
        console.print(Text(plain(line)))
    if len(table.rows):
        console.print(_rich(table, console.width))
        if brackets := _brackets(table.rows):
            console.print(Text(brackets, style="dim"))
    if table.hidden:
        more = "1 more stopped variant is" if table.hidden == 1 else f"{table.hidden} more stopped variants are"
        everything = f"python -m results.show {plain(' '.join(table.searches))} --all"
        console.print(Text(f"{more} shown by: {everything}"), soft_wrap=True)  # a command is never broken
    for note in table.notes:
        console.print(Text(note))


def _print_head(frames: Frames, name: str, console: Console, *, screening: bool) -> None:
    search = frames.search(name)
    trials = frames.trials[frames.trials["search_id"] == name]
    counts = Counter(trials["status"]) if len(trials) else Counter()
    states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print(Text(f"{name}: {plain(search['question'])}", style="bold"))
    label = "; screening" if screening else ""
    begun = f"{search['status']}, {period(search, trials)}"
    console.print(Text(f"{begun}; {counted(len(trials), 'trial')}: {states or 'none'}{label}"), soft_wrap=True)
    driver, silent = _life(search), silent_seconds(search["heartbeat"])
    if driver is Life.GONE:
        pid = search["provenance"]["driver_pid"]
        console.print(f"Its driver, process {pid} of this host, has ended.", highlight=False, soft_wrap=True)
    elif driver is Life.SILENT:
        since = "" if silent is None else f" for {silent / 60:,.0f} minutes"
        console.print(f"Its driver has given no sign of life{since}.", highlight=False, soft_wrap=True)
    if driver in (Life.GONE, Life.SILENT) or search["status"] in ("interrupted", "paused", "stopped"):
        console.print(
            f"Go on with: python -m search.run --resume {name}", highlight=False, markup=False, soft_wrap=True
        )
    for column in ("notes", "tags"):
        if search[column]:
            value = ", ".join(search[column]) if column == "tags" else search[column]
            console.print(Text(f"{column}: {plain(value)}", style="italic"))


def _life(search: Mapping[str, Any]) -> Life | None:
    return life(search["status"], search["provenance"], silent_seconds(search["heartbeat"]))


def _brackets(rows: pd.DataFrame) -> str:
    """What a value in brackets is; nothing where there is none."""
    single = rows[~rows["complete"].astype(bool) & rows["val_acc"].notna()]
    ended = single["seeds"] > 0
    said = ["the value of a trial that has not run to its end, at an earlier epoch"] if (~ended).any() else []
    said += [f"{'' if said else 'the value '}of one seed while others are missing"] if ended.any() else []
    return f"In brackets: {', or '.join(said)}." if said else ""


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
    rows = table.rows.to_dict("records")
    texts = [{**cells(row, table), "trial": trial_of(row)} for row in rows]
    names.insert(1, "trial")  # what other commands want to hear
    widths = _widths(names, texts, width, padding=1 if narrow else 2)
    for name in [each for each in names if each in widths]:
        wide = name in TEXT
        justify: Any = "left" if wide else "right"
        result.add_column(name, justify=justify, overflow="fold", no_wrap=not wide, width=widths[name])
    names = list(widths)
    for row, each in zip(rows, texts, strict=True):
        style = "bold" if is_alike(row) else "dim" if not row["complete"] else None
        result.add_row(*(Text(each[name]) for name in names), style=style)
    return result


def _widths(names: Sequence[str], texts: Sequence[Mapping[str, str]], width: int, *, padding: int) -> dict[str, int]:
    """The columns that fit on the screen, in order, with the width of each.

    Numbers and the words of a status or a search stay whole, if need be at the cost of a column that one can do without,
    and last of the words of the keys. Rich would shrink columns beyond their least width and cut what stands at the right.
    """
    kept = list(names)
    whole = {name: max(len(name), *(len(each[name]) for each in texts)) for name in names}
    words = {
        name: max(
            [len(name) if name != "variant keys" else 10, *(len(w) for each in texts for w in each[name].split())]
        )
        for name in TEXT
        if name in names
    }

    def room() -> int:
        """What is left of the line where every column of words has its least width; below 0 it is too long."""
        frame = 2 + (len(kept) - 1) * (1 + padding)
        return width - frame - sum(words.get(name, whole[name]) for name in kept)

    for name in (*DISPENSABLE, "seeds"):
        if name in kept and room() < 0:
            kept.remove(name)
    left = room()
    if left < 0:
        words["variant keys"] = max(10, words["variant keys"] + left)
        left = 0
    for name in sorted(words, key=("variant keys", "search", "status").index):
        more = min(left, max(whole[name] - words[name], 0))
        words[name] += more
        left -= more
    return {name: words.get(name, whole[name]) for name in kept}


def print_searches(frames: Frames, searches: pd.DataFrame, console: Console) -> None:
    """One line a search; where there is no room for its question beside it, the question stands below."""
    names = ("search", "created", "status", "trials", "best val %")
    rows = []
    for row in searches.to_dict("records"):
        count = int((frames.trials["search_id"] == row["id"]).sum())
        status = _life({str(key): value for key, value in row.items()}) or row["status"]
        cells_of_row = (row["id"], f"{row['created']:%Y-%m-%d %H:%M}", status, str(count), percent(_best(frames, row)))
        rows.append(([plain(cell) for cell in cells_of_row], plain(row["question"])))
    widths = [max(len(name), *(len(texts[at]) for texts, _ in rows), 0) for at, name in enumerate(names)]
    is_wide = sum(widths) + 3 * len(widths) + QUESTION_WIDTH <= console.width
    if is_wide:
        result = RichTable(box=box.SIMPLE_HEAD)
        for name in names:
            result.add_column(name, justify="right" if name in ("trials", "best val %") else "left", no_wrap=True)
        result.add_column("question")
        for texts, question in rows:
            result.add_row(*map(Text, texts), Text(question))
        console.print(result)
        return
    # an id is to be typed again: no column is cut
    heads = "  ".join(f"{name:<{width}}" for name, width in zip(names, widths, strict=True))
    console.print(Text(heads, style="bold"), soft_wrap=True)
    for texts, question in rows:
        line = "  ".join(
            f"{text:>{width}}" if name in ("trials", "best val %") else f"{text:<{width}}"
            for text, name, width in zip(texts, names, widths, strict=True)
        )
        console.print(Text(line), soft_wrap=True)
        console.print(Padding(Text(question, style="dim"), (0, 0, 0, 2)))


def _best(frames: Frames, search: Mapping[Any, Any]) -> float:
    """A search's best run that came to its end; of a comparison the best mean over all planned seeds, not a lucky one."""
    settings = search["settings"]
    if settings.get("grid") is not None and len(settings.get("seeds") or ()) > 1:
        rows = variants(frames, search["id"], everything=True).rows
        return float(rows.loc[rows["complete"], "val_acc"].max()) if len(rows) else math.nan
    trials = frames.trials_of(search["id"])
    return float(trials.loc[trials["status"].isin(COMPLETE), "val_acc"].max()) if len(trials) else math.nan
