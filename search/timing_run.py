"""What `search.run` does with a timing: refuse what only trials have, time, keep the rows in a folder beside the store."""

from __future__ import annotations

import csv
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from results.cli import EXIT_INTERRUPTED
from results.errors import InputError
from results.ids import make_run_folder, runs_folder
from results.lines import lines_picture
from results.store import Store
from results.text import cell
from search.catalog import said
from search.timing import Row, Timing
from trainer.fingerprint import fingerprint


def refuse_options(timing: Timing, given: Mapping[str, object]) -> None:
    """Raises InputError for the first option, of those with their values, that was given."""
    for option, value in given.items():
        if value is not None and value not in ("", (), {}):
            raise InputError(
                f"{timing.name!r} times and trains nothing, so {option} does not apply; copy the experiment's file to "
                "change what it times."
            )


def print_preview(timing: Timing, console: Console) -> None:
    """What there is to say before it runs."""
    console.print(Text(timing.question, style="bold"))
    _say(console, f"{timing.name} times and trains nothing: no trials, no epochs, nothing in the store.")
    describe(timing, console)


def describe(timing: Timing, console: Console) -> None:
    """What is timed, and what is the same in all rows."""
    if timing.about:
        _say(console, timing.about)
    if timing.settings:
        _say(console, ", ".join(f"{key} {value}" for key, value in timing.settings.items()))


def run_timing(timing: Timing, storage: str, console: Console) -> Path:
    """Time all rows, showing each as it comes; returns the folder with their CSV, picture and provenance.

    The CSV is written after every row, so that a broken run loses none.

    Raises:
        InputError: a storage that cannot be used; a timing that raises, gives no rows, or rows that do not fit.
    """
    folder = _make_folder(timing.name, storage)
    console.print(Text(timing.question, style="bold"))
    describe(timing, console)
    (folder / "about.json").write_text(json.dumps(_about(timing), indent=1))
    rows: list[Row] = []
    began = time.monotonic()
    try:
        with _shown(rows, console) as show:
            for row in _checked(timing, rows):
                rows.append(row)
                _write_csv(folder / "rows.csv", rows)
                show()
    except KeyboardInterrupt:
        _say(console, f"\nInterrupted after {len(rows)} rows, which are in {folder}.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    picture = folder / "picture.png"
    title = f"{folder.name}: {timing.question}"
    lines_picture(rows, x=timing.x, y=timing.y, line=timing.line, band=timing.quartiles, title=title, path=picture)
    _say(console, f"\n{len(rows)} rows in {time.monotonic() - began:.0f} s.\nRows: {_short(folder / 'rows.csv')}")
    _say(console, f"Picture: {_short(picture)}")
    return folder


def _make_folder(name: str, storage: str) -> Path:
    """`NAME-N` beside the store, with the first N that neither a folder nor a search has."""
    with Store.open(storage) as store:  # refuses a storage that cannot be used
        taken = {search.id for search in store.searches()}
        runs = runs_folder(store.url)
    make_run_folder(runs)
    for number in itertools.count(1):
        folder = runs / f"{name}-{number}"
        if folder.name not in taken:
            try:
                folder.mkdir()  # one process gets it
            except FileExistsError:
                continue
            return folder
    raise AssertionError


def _about(timing: Timing) -> dict[str, Any]:
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    return {
        "experiment": timing.name,
        "question": timing.question,
        "about": timing.about,
        "settings": dict(timing.settings),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "provenance": fingerprint(device, torch.get_num_threads()),
    }


def _checked(timing: Timing, rows: Sequence[Row]) -> Iterator[Row]:
    """The timing's rows. Raises InputError where its code raises, or a row cannot be shown."""
    own = timing.rows()
    while True:
        try:
            row = next(own)
        except StopIteration:
            break
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"{timing.name} broke off after {len(rows)} rows: {said(error)}") from error
        missing = [column for column in timing.columns if column not in row]
        if missing or (rows and row.keys() != rows[0].keys()):
            wanted = ", ".join(timing.columns if missing else rows[0])
            raise InputError(f"Every row of {timing.name} must have the columns {wanted}, but got {', '.join(row)}.")
        for column in (timing.x, timing.y, *(timing.quartiles or ())):
            value, low = row[column], -math.inf if column == timing.x else 0
            if not isinstance(value, int | float) or not low < value < math.inf:
                above = "" if column == timing.x else " above 0"
                raise InputError(f'"{column}" of {timing.name} must be a number{above}, but got {value!r}.')
        yield row
    if not rows:
        raise InputError(f"{timing.name} must give at least one row, but gave none.")


class _shown:  # noqa: N801  # used as a function that gives a context
    """A table that grows in a terminal; elsewhere a line for each row as it comes. The whole table is left at the end."""

    def __init__(self, rows: list[Row], console: Console) -> None:
        self._rows, self._console = rows, console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Callable[[], None]:
        if self._live is not None:
            self._live.start()
        return self._show

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._rows:
            self._console.print(_table(self._rows))

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(_table(self._rows[-max(1, self._console.height - 4) :]), refresh=True)
        else:
            row = self._rows[-1]
            self._console.print("  ".join(f"{key} {_text(value)}" for key, value in row.items()), highlight=False)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    return table


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Beside it first, so that no moment leaves half a file."""
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    part.replace(path)


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
