"""`python -m results.show [SEARCH ...]`: the ranked table of a search, or of several in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.export import PRINTED, as_plain, check_target, write_csv, write_latex, write_markdown, write_parquet
from results.frames import load
from results.screen import print_searches, print_table
from results.selection import of_kinds, searches_with
from results.table import variants
from results.text import counted

EXAMPLES = """\
The ranked variants of a search: mean over seeds with its 95 % interval, costs, status. The latest search where none is
named. Several searches stand in one table if they have one protocol (data, epochs, batch, augmentation), or with `--mix`.

Examples:

  python -m results.show

  python -m results.show baseline-1 --all

  python -m results.show baseline-1 baseline-2 --kind fff

  python -m results.show --tag paper --mix

  python -m results.show quickstart-1 --csv table.csv --latex table.tex

  python -m results.show quickstart-1 --json | jq '.variants[0]'

  python -m results.show --list
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[list[str] | None, typer.Argument(help="Searches' ids, such as quickstart-1.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    tag: Annotated[list[str] | None, typer.Option(help="Only searches that have this tag; repeatable.")] = None,
    note: Annotated[str | None, typer.Option(help="Only searches with this text in their notes.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Show only this feed-forward kind; repeatable.")] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Let the searches differ in data, epochs, batch ...")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV; - prints it.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the table as Parquet.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the table as LaTeX with booktabs; - prints it.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown; - prints it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every stopped variant, and archived searches, too.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="List the searches, each with its best value, of a comparison its best mean.")
    ] = False,
) -> None:
    if parquet == PRINTED:
        raise InputError("Parquet is no text that could be printed, so --parquet must name a file, but got -.")
    texts = {"--csv": csv, "--latex": latex, "--markdown": markdown}
    printed = [*(option for option, path in texts.items() if path == PRINTED), *(["--json"] if as_json else [])]
    if len(printed) > 1:
        raise InputError(
            f"One table at most can be printed, but got {' and '.join(printed)}; name a file for the others."
        )
    frames = load(storage)
    console = Console(stderr=PRINTED in texts.values())
    chosen = searches_with(frames, search or [], tags=tag or [], note=note, archived=everything)
    if list_all:
        if kind:
            raise InputError("--kind chooses rows of a table, and --list has a line for each search; leave one out.")
        print_searches(frames, frames.searches[frames.searches["id"].isin(chosen)], console)
        hidden = len(searches_with(frames, search or [], tags=tag or [], note=note, archived=True)) - len(chosen)
        if hidden:
            console.print(
                f"{hidden} archived {'search is' if hidden == 1 else 'searches are'} hidden; --all shows them.",
                highlight=False,
            )
        return
    if not search and not tag and note is None:
        chosen = [frames.latest()]
    targets = [
        (path, write)
        for path, write in (
            (csv, write_csv),
            (parquet, write_parquet),
            (latex, write_latex),
            (markdown, write_markdown),
        )
        if path is not None
    ]
    table = variants(
        frames, chosen, everything=everything or as_json or csv is not None or parquet is not None, mix=mix
    )
    table = of_kinds(table, kind or [])
    for path, _ in targets:
        check_target(path, force=force)
    for path, write in targets:
        write(table, path)
        if path != PRINTED and not as_json:
            console.print(f"Wrote {counted(len(table.rows), 'variant')} to {path}", highlight=False, markup=False)
    if as_json:
        typer.echo(json.dumps(as_plain(frames, table), default=str))
    elif not targets:
        print_table(frames, table, console)


if __name__ == "__main__":
    run(app, "python -m results.show")
