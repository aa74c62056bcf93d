"""`python -m results.bundle TRIAL`: one trial as one file, for a colleague; `--open FILE` takes such a file in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from results.bundled import write_bundle
from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.page.origin import command
from results.store import Store
from results.text import plain
from results.unbundled import open_bundle

EXAMPLES = """\
One trial as one file: its row, curve, decisions, code, checkpoint and predictions. A colleague opens it in a store on
another machine, and evaluates or replays it there. Opening checks every checksum and runs nothing of what is inside.

Examples:

  python -m results.bundle quickstart-1.7                 as quickstart-1.7.zip here

  python -m results.bundle quickstart-1.7 -o best.zip

  python -m results.bundle --open quickstart-1.7.zip

  python -m results.bundle --open own_kind.zip --trust-code     with the feed-forward kinds that it brings
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    trial: Annotated[str | None, typer.Argument(help="A trial's id, such as quickstart-1.7.")] = None,
    opened: Annotated[
        Path | None, typer.Option("--open", metavar="FILE", help="Take this bundle into the store.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, or a folder. Default: TRIAL.zip here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Let the Python files of the bundle be loaded; read them first.")
    ] = False,
    storage: Annotated[str, typer.Option(help="Where the results are, or go.")] = DEFAULT_STORAGE,
) -> None:
    if (trial is None) == (opened is None):
        raise InputError('Give either a trial to bundle, or a file to take in with "--open", but not both.')
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if opened is not None:
        _open(opened, storage, console, trust_code=trust_code)
        return
    path = Path(f"{trial}.zip") if output is None else output / f"{trial}.zip" if output.is_dir() else output
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    with Store.open(storage, create=False, to_read=True) as store:
        store.trial(str(trial))
        if path.exists() and not force:
            raise InputError(f"There is a file {path} already; name another, or say --force.")
        names = write_bundle(store, str(trial), path)
    console.print(f"Bundle: {path} ({path.stat().st_size / 1e6:.1f} MB: {', '.join(names)})")


def _open(path: Path, storage: str, console: Console, *, trust_code: bool) -> None:
    with Store.open(storage) as store:
        found = open_bundle(path, store, trust_code=trust_code)
    if found.was_there:
        console.print(Text(plain(f"{found.original} is in the store already, as {found.trial}; nothing was added.")))
    else:
        console.print(Text(plain(f"{found.original} is in the store now, as {found.trial}.")))
    if found.untrusted:
        console.print(
            f"It brings feed-forward kinds as Python code ({', '.join(found.untrusted)}), which nothing loads: read them "
            "in the bundle; --trust-code, with another storage, lets them be loaded."
        )
    for module in ("trainer.evaluate", "trainer.replay"):
        console.print(f"  {command(module, found.trial, storage)}")


if __name__ == "__main__":
    run(app, "python -m results.bundle")
