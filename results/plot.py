"""`python -m results.plot [SEARCH]`: pictures of a search, readable in print and by the colour-blind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from rich.table import Table
from rich.text import Text

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.frames import Frames, load
from results.leaf_use import leaf_use_picture
from results.plots.catalog import PICTURES, figure_of
from results.plots.cost import accuracy_against
from results.plots.curves import curves
from results.plots.style import page, tidy
from results.targets import writing

ALL = "all"
"""The `--kind` that stands for every picture that a search has something for."""


def search_picture(frames: Frames, search_id: str, path: Path) -> Path:
    """Curves with rungs beside accuracy against parameters, as one PNG; returns its path."""
    figure = page(f"{search_id}: {frames.search(search_id)['question']}", width=11, height=4.4)
    left, right = figure.subplots(1, 2)
    curves(frames, search_id, left)
    accuracy_against(frames, search_id, "parameters", right)
    for ax in (left, right):
        tidy(ax)
    with writing(path):
        figure.savefig(path)
    return path


EXAMPLES = """\
Pictures of a search. Without `--kind` all validation curves with rungs, and accuracy against parameters with intervals. Or
of one trial whose feed-forward parts are trees: how evenly they use their leaves.

Examples:

  python -m results.plot quickstart-1

  python -m results.plot baseline-1 -o baseline.png

  python -m results.plot --list

  python -m results.plot quickstart-1 --kind parallel --kind timeline -o pictures

  python -m results.plot quickstart-1 --kind contour --key lr --key ffn.fff.depth

  python -m results.plot quickstart-1 --kind all -o pictures

  python -m results.plot --leaf-use quickstart-1.7
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id. Default: the latest.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A picture of --list, or all; repeatable.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="A searched key for parallel, slice, contour; repeatable.")
    ] = None,
    leaf_use: Annotated[
        str | None, typer.Option(metavar="TRIAL", help="The leaves of this trial's trees instead.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A file for one picture, or a folder. Default: SEARCH-NAME.png here."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Name the pictures and what each shows.")] = False,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    if list_all:
        _list(Console())
        return
    kinds = list(dict.fromkeys(kind or []))
    if key and not kinds:
        raise InputError(f'"--key" needs a picture of keys, such as "--kind slice", but got {key[0]!r} alone.')
    frames = load(storage)
    if search is not None and leaf_use is not None:
        raise InputError(f'"--leaf-use" must be given without a search, but got {search!r} and {leaf_use!r}.')
    if leaf_use is not None:
        if kinds:
            raise InputError(
                f'"--leaf-use" is a picture of its own, but got "--kind" {kinds[0]!r}, too; give one of them.'
            )
        path = _file(output, f"{leaf_use}-leaves.png")
        with writing(path):
            leaf_use_picture(frames, leaf_use, path)
        typer.echo(f"Picture: {path}")
        return
    if search is None:
        search = frames.latest()
    if not kinds:
        typer.echo(f"Picture: {search_picture(frames, search, _file(output, f'{search}.png'))}")
        return
    for path in _pictures(frames, search, kinds, key or [], output):
        typer.echo(f"Picture: {path}")


def _pictures(frames: Frames, search: str, kinds: list[str], keys: list[str], output: Path | None) -> list[Path]:
    """Draw every picture before the first is written; with `all` those that the search has nothing for are named."""
    frames.search(search)
    everything = ALL in kinds
    names = list(PICTURES) if everything else kinds
    several = len(names) > 1
    if several and output is not None and not output.is_dir():
        _require_folder_to_make(output)
    figures = {}
    for name in names:
        of_keys = name not in PICTURES or PICTURES[name].of_keys
        try:
            figures[name] = figure_of(frames, search, name, keys if of_keys or not everything else ())
        except InputError as error:
            if not everything:
                raise
            typer.echo(f"No {name}: {error}")
    if several and output is not None and figures:
        with writing(output):
            output.mkdir(exist_ok=True)
    paths = {name: _file(output, f"{search}-{name}.png") for name in figures}
    for name, figure in figures.items():
        with writing(paths[name]):
            figure.savefig(paths[name])
    return list(paths.values())


def _require_folder_to_make(path: Path) -> None:
    """Raises InputError where several pictures cannot go to a folder of this name."""
    if path.exists() or path.suffix[1:].lower() in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"Several pictures go to a folder, but got the file {path}; name a folder, or one picture.")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another folder.")


def _list(console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for name, picture in PICTURES.items():
        table.add_row(Text(name, style="bold"), picture.shows + (" (--key)" if picture.of_keys else ""))
    table.add_row(Text(ALL, style="bold"), "every one of these that the search has something for")
    console.print(table)


def _file(output: Path | None, name: str) -> Path:
    """Where a picture goes: the file that was named, or `name` in the folder. Raises InputError where it cannot."""
    path = Path(name) if output is None else output / name if output.is_dir() else output
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.is_dir() or path.suffix[1:].lower() not in kinds:
        raise InputError(
            f"The picture must be a file that ends in .png (or {', '.join(sorted(kinds))}), but got {path}."
        )
    return path


if __name__ == "__main__":
    run(app, "python -m results.plot")
