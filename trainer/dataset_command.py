"""The commands of `python -m trainer.dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from results.cli import run
from results.errors import InputError
from trainer.dataset import SUFFIX, Header, data_folder, load_dataset, read_header
from trainer.prepare import prepare
from trainer.progress import Told

EXAMPLES = """\
Packed data sets: make, list and show them.

Examples:

  python -m trainer.dataset prepare cifar10

  python -m trainer.dataset list

  python -m trainer.dataset show cifar10
"""
PREPARE = """\
Decode a data set once into one packed, checksummed file, in `runs/data` or where `ARBOR_DATA` says.

Examples:

  python -m trainer.dataset prepare cifar10

  python -m trainer.dataset prepare cifar10 --from cifar10.zip

  python -m trainer.dataset prepare birds --from birds/ --size 64 --no-flip
"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=EXAMPLES,
)


@app.command("prepare", help=PREPARE)
def prepare_command(
    name: Annotated[str, typer.Argument(help="cifar10, cifar100, or a name of your own.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="CIFAR as published (archive or unpacked), or a zip or folder of class folders. Default: is fetched.",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side in pixels of class folders' images. Default: 32.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Draws the validation part. Default: 0.")] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Whether a mirrored image keeps its class. Default: yes.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it anew where it is there.")] = False,
) -> None:
    console = Console()
    header, made = prepare(
        name, source, size=size, split_seed=split_seed, flip=flip, force=force, progress=Told(console)
    )
    _say(console, f"{header.name} is {'made' if made else 'there (--force makes it anew)'}: {_describe(header)}")


@app.command("list")
def list_command() -> None:
    """The packed data sets of the data folder."""
    console, folder = Console(), data_folder()
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        _say(console, f"No data sets in {folder} yet; digits is made on its first use.")
        return
    table = Table("name", "classes", "size", "train", "val", "test", "checksum", "source", title=str(folder))
    for path in paths:
        try:
            header = read_header(str(path))
        except InputError as error:
            table.add_row(path.stem, *["?"] * 6, str(error))
            continue
        counts = [f"{count:,}" for count in header.counts.values()]
        size = str(header.image_size)
        table.add_row(path.stem, str(len(header.classes)), size, *counts, header.checksum[:12], header.source)
    console.print(table)


@app.command("show")
def show_command(name: Annotated[str, typer.Argument(help="Name or path of a packed data set.")]) -> None:
    """One data set, after its checksum was checked."""
    console, dataset = Console(), load_dataset(name)
    _say(console, f"{dataset.name}: {_describe(dataset)}")
    _say(console, f"source: {dataset.source}; split seed {dataset.split_seed}; flips {'yes' if dataset.flip else 'no'}")
    _say(console, f"mean {_triple(dataset.mean)}, deviation {_triple(dataset.std)} (of the training part, 1 = 255)")
    _say(console, f"classes: {', '.join(dataset.classes)}")
    _say(console, f"checksum {dataset.checksum} (right)")


def main() -> None:
    """Run the command line."""
    run(app, "python -m trainer.dataset")


def _describe(header: Header) -> str:
    counts = " / ".join(f"{count:,} {split}" for split, count in header.counts.items())
    return f"{counts} images of {header.image_size}x{header.image_size} in {len(header.classes)} classes, {header.path}"


def _triple(values: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
