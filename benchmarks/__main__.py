"""`python -m benchmarks [NAME ...]`: timings with their references, as a table and as JSON."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.suite import SUITE
from results.cli import run
from results.errors import InputError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")

HELP = """\
Time Arbor and its references side by side; without a name, list what can be timed.

Examples:

  python -m benchmarks epoch                       the epoch against constant data, bare loops, and the old way

  python -m benchmarks profile --picture time.png  where the epoch's time goes

  python -m benchmarks kinds optimizers --json -   figures for a machine

  python -m benchmarks epoch --set batch_size=512 --epochs 10

`python -m benchmarks.faults --help` is about what kill -9 costs a search.
"""


@app.command(help=HELP)
def main(
    name: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run, in order.")] = None,
    epochs: Annotated[int, typer.Option(help="Epochs that are timed, after two that warm up.")] = 6,
    fix: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the trial; repeatable.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw where the epoch's time goes; with `profile`.")
    ] = None,
    output: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - prints it.")] = None,
) -> None:
    from trainer.config import parse_pairs

    console = Console(file=sys.stderr if output == "-" else None)
    if not console.is_terminal:
        console.width = 140  # of a log, in which nothing need wrap
    if not name:
        for known, benchmark in SUITE.items():
            console.print(f"{known:<12} {inspect.getdoc(benchmark)}", highlight=False, soft_wrap=True)
        return
    for wanted in name:
        if wanted not in SUITE:
            raise InputError(f"Unknown benchmark {wanted!r}; known: {', '.join(SUITE)}.")
    if epochs < 1:
        raise InputError(f'"--epochs" must be at least 1, but got {epochs}.')
    if picture is not None and "profile" not in name:
        raise InputError(f'"--picture" draws the rows of "profile", but got {", ".join(name)}; add profile.')
    from benchmarks.work import trial_config

    changes = parse_pairs(fix or [])
    trial_config(dict(changes), epochs=epochs)  # refused before anything is started
    figures: dict[str, list[dict[str, object]]] = {}
    for wanted in name:
        rows = figures[wanted] = []
        with console.status(wanted):
            for row in SUITE[wanted](dict(changes), epochs):
                rows.append(row)
                console.print(f"{wanted}: {row['what']}", style="dim", highlight=False)
                if output is not None and output != "-":
                    Path(output).write_text(json.dumps(figures, indent=1))  # after every row: a kill loses none
        console.print(_table(wanted, rows))
    if picture is not None:
        import torch

        from benchmarks.picture import draw_profile

        on_gpu = "Where an epoch goes: 50,000 images trained, 10,000 evaluated"
        title = on_gpu if torch.cuda.is_available() else "Where an epoch of digits goes on this CPU"
        draw_profile(figures["profile"], picture, title)
        console.print(f"Picture: {picture}", highlight=False)
    if output == "-":
        print(json.dumps(figures, indent=1))


def _table(name: str, rows: list[dict[str, object]]) -> Table:
    """Every column that some row has."""
    table = Table(title=name, box=None, padding=(0, 2, 0, 0), title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=column == "what")
    for row in rows:
        table.add_row(*(_cell(column, row.get(column)) for column in columns))
    return table


def _cell(column: str, value: object) -> str:
    if value is None:
        return "-"
    if column == "memory_bytes":
        return f"{float(str(value)) / 2**30:.2f} GiB"
    if column.endswith("_per_second") or column == "trials_an_hour":
        return f"{float(str(value)):,.0f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run(app, "python -m benchmarks")
