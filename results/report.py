"""`python -m results.report SEARCH`: one HTML file with a search's question, answer, table, pictures and provenance."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import make_url

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.frames import load
from results.opening import shown
from results.targets import writing

EXAMPLES = """\
The report of a search as one HTML file, which needs nothing from outside: it opens from disk, can be sent by mail and
prints. It has the question, an answer in a sentence or two from the numbers alone, the table (sort, filter), pictures,
remarks, provenance, and the commands that train each trial again.

Examples:

  python -m results.report                              the latest search, as SEARCH.html here

  python -m results.report quickstart-1 --open          and opens it

  python -m results.report baseline-2 -o baseline.html
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id. Default: the latest.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, or a folder. Default: SEARCH.html here.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is not a report.")] = False,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    frames = load(storage)
    search = search or frames.latest()
    frames.search(search)
    path = _target(output, f"{search}.html", force=force)

    from results.page.build import report  # altair takes half a second, which a refusal need not

    write(report(frames, search, shown(make_url(storage))), path)
    typer.echo(f"Report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        typer.echo(f"No browser could be started here; open {path.resolve().as_uri()} in one.")


def write(page: str, path: Path) -> None:
    """Write a report so that a kill leaves the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _target(output: Path | None, name: str, *, force: bool) -> Path:
    """Where the report goes. Raises InputError where it cannot, or would replace what is no report."""
    path = Path(name) if output is None else output / name if output.is_dir() else output
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"The report must be a file that ends in .html, but got {path}.")
    if path.is_dir() or (path.exists() and not force and not is_report(path)):
        raise InputError(f"The file {path} is not a report, so it is not written over; name another, or say --force.")
    return path


def is_report(path: Path) -> bool:
    """Whether a file is a report of ours, by what its head says."""
    from results.page import MARK

    with path.open("rb") as file:
        return f'<meta name="generator" content="{MARK}">'.encode() in file.read(4096)


if __name__ == "__main__":
    run(app, "python -m results.report")
