"""`python -m results.watch [SEARCH]`: a search while it runs, seen from any machine that reaches its storage."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from results.cli import DEFAULT_STORAGE, EXIT_INTERRUPTED, run
from results.errors import InputError
from results.store import Store
from results.watch_frame import Frame, changes
from results.watched import Watched, latest, read

EXAMPLES = """\
Watch a search while it runs: progress, running trials with their curves, best so far, the scheduler's last decisions. All of
it comes from the storage, so any machine that reaches that may watch. Ends with the search. Where stdout is no terminal, a
plain line tells what changed.

Examples:

  python -m results.watch

  python -m results.watch quickstart-1 --seconds 5

  python -m results.watch --once

  python -m results.watch baseline-2 --storage postgresql+psycopg://arbor@db.example/arbor
"""
SHORTEST = 0.1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id. Default: the latest.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end.")] = False,
    seconds: Annotated[float, typer.Option(help="Time between two looks at the storage.")] = 2.0,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    if not SHORTEST <= seconds <= 86_400:  # nan, too
        raise InputError(f'"--seconds" must be from {SHORTEST} to 86400, but got {seconds:g}.')
    console = Console()
    with Store.open(storage, create=False, to_read=True) as store:
        name = search or latest(store)
        try:
            if once:
                console.print(Frame(read(store, name)))
            elif console.is_terminal:
                _live(store, name, seconds, console)
            else:
                _lines(store, name, seconds, console)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None


def _live(store: Store, name: str, seconds: float, console: Console) -> None:
    """A frame that is drawn anew in place, and stays when the search has ended."""
    watched: Watched | None = None
    notice = ""

    def drawn() -> RenderableType:
        return "" if watched is None else Frame(watched, notice)

    def say(sentence: str) -> None:
        nonlocal notice
        notice = sentence
        live.refresh()

    watched = read(store, name)
    store.say = say  # the frame says that the database is away, and goes on when it is back
    with Live(console=console, get_renderable=drawn, auto_refresh=False, vertical_overflow="crop") as live:
        live.refresh()
        while watched.is_running:
            time.sleep(seconds)
            watched = read(store, name)
            notice = ""
            live.refresh()


def _lines(store: Store, name: str, seconds: float, console: Console) -> None:
    """For pipes and log files: what changed, until the search ends."""
    before: Watched | None = None
    while True:
        watched = read(store, name)
        for line in changes(before, watched):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not watched.is_running:
            return
        before = watched
        time.sleep(seconds)


if __name__ == "__main__":
    run(app, "python -m results.watch")
