"""`python -m results.ingest FILE`: results of other programs, as finished trials of a search of their own."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from results import blocks
from results.blocks import Block, Malformed, read_blocks
from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.store import Store
from results.text import plain

FORMATS = (blocks.FORMAT,)
SHOWN = 20
"""Malformed blocks that are named one by one."""

EXAMPLES = """\
Takes in the results of another program: every block becomes a finished trial of one search, marked as imported. Missing
fields and values that are not finite are null. An accuracy that was chosen on the test images gets a column of its own,
best_test_acc, and no rank. A block that cannot be read is named by its line, and the rest goes in.

Examples:

  python -m results.ingest results.txt

  python -m results.ingest old_results.txt --format cifar10deepspeed --tag predecessor
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What came of a file."""

    search: str
    trials: int
    malformed: list[Malformed]
    was_there: bool
    """Whether the store had this very file before; then nothing was added."""
    repeated: int
    """Blocks that have variant and seed of an earlier one: the spread with them is not that between seeds."""
    looks_like_fractions: bool
    """Whether no accuracy, all read as percent, is above 1 %: less than guessing gives."""


@app.command(help=EXAMPLES)
def main(
    file: Annotated[Path, typer.Argument(help="A text file of results.")],
    storage: Annotated[str, typer.Option(help="Where the results go; made where it is absent.")] = DEFAULT_STORAGE,
    of: Annotated[str, typer.Option("--format", help=f"How the file is written: {', '.join(FORMATS)}.")] = FORMATS[0],
    note: Annotated[str, typer.Option(help="A note that the search keeps.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag that the search gets; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    found = ingest(file, storage, of=of, note=note, tags=tag or [])
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        _print(found, file, storage)


def ingest(
    file: Path, storage: str, *, of: str = blocks.FORMAT, note: str = "", tags: list[str] | None = None
) -> Ingested:
    """Take a file into the store, all of it or nothing. The same bytes a second time add nothing.

    Raises:
        InputError: an unknown format, a file that cannot be read or has no readable block, a store that cannot be opened.
    """
    if of not in FORMATS:
        raise InputError(f'"--format" must be one of {", ".join(FORMATS)}, but got {of!r}.')
    content = _read(file)
    found, malformed = read_blocks(
        content.decode("utf-8-sig", errors="replace").replace("\0", "\ufffd")
    )  # PostgreSQL has no NUL
    if not found:
        first = f" (line {malformed[0].line}: {malformed[0].reason})" if malformed else ""
        raise InputError(
            f'The file {file} must have blocks that begin with "{blocks.BEGIN}", but none can be read{first}.'
        )
    digest = hashlib.sha256(content).hexdigest()
    with Store.open(storage) as store:
        for row in store.searches():
            kept = row.settings.get("imported") or {}
            if (kept.get("sha256"), kept.get("format")) == (digest, of):
                return Ingested(
                    search=row.id,
                    trials=len(store.trials(row.id)),
                    malformed=malformed,
                    was_there=True,
                    repeated=_repeated(found),
                    looks_like_fractions=_look_like_fractions(found),
                )
        origin = {"format": of, "file": str(file.resolve()), "sha256": digest}
        search = store.import_search(
            f"imported-{_name(file)}",
            f"Imported from {file.name} ({of}).",
            settings={"imported": origin, "grid": None, "scheduler": "none"},
            provenance={"malformed": [asdict(each) for each in malformed]},
            notes=note,
            tags=["imported", *(tag for tag in tags or [] if tag != "imported")],
            trials=[
                {
                    "config": block.config,
                    **block.columns,
                    "provenance": {
                        "imported": {"format": of, "file": file.name, "line": block.line, **block.imported},
                        "git_commit": block.imported["git_commit"],
                    },
                }
                for block in found
            ],
        )
    return Ingested(
        search=search,
        trials=len(found),
        malformed=malformed,
        was_there=False,
        repeated=_repeated(found),
        looks_like_fractions=_look_like_fractions(found),
    )


def _repeated(found: list[Block]) -> int:
    seeded = [json.dumps(block.config, sort_keys=True) for block in found if "seed" in block.config]
    return len(seeded) - len(set(seeded))


def _look_like_fractions(found: list[Block]) -> bool:
    known = [block.imported["best_test_acc"] for block in found if block.imported["best_test_acc"] is not None]
    return bool(known) and max(known) <= 0.01


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {file}; name one that is there.") from None
    except IsADirectoryError:
        raise InputError(f"The results must be in a file, but {file} is a folder; name a file in it.") from None
    except PermissionError:
        raise InputError(f"The file {file} cannot be read; ask for the right to, or name another.") from None


def _name(file: Path) -> str:
    """The file's name without its ending, in the letters that an id has."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", file.stem).strip("_-")[:120] or "results"


def _print(found: Ingested, file: Path, storage: str) -> None:
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False)
    if found.was_there:
        said = f"{file} is in the store already, as {found.search} ({found.trials} trials); nothing was added."
    else:
        said = f"Imported {found.trials} blocks of {file} as finished trials of {found.search}."
    console.print(Text(plain(said)), soft_wrap=True)
    if found.repeated:
        console.print(
            Text(
                f"{found.repeated} of the blocks repeat variant and seed of an earlier one: the interval over them is not "
                "that between seeds."
            ),
            style="yellow",
        )
    if found.looks_like_fractions:
        console.print(
            Text(
                "No accuracy in the file is above 1, and each was read as percent, as cifar10deepspeed writes it; if they "
                "are fractions, multiply them by 100 in the file and take that in."
            ),
            style="yellow",
        )
    if found.malformed and not found.was_there:
        errors.print(f"{len(found.malformed)} blocks were left out:")
        for each in found.malformed[:SHOWN]:
            errors.print(Text(plain(f"  line {each.line}: {each.reason}")), soft_wrap=True)
        if len(found.malformed) > SHOWN:
            errors.print(f"  and {len(found.malformed) - SHOWN} more, which the search's provenance lists")
    option = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    console.print(Text(f"Show them with: python -m results.show {found.search}{option}"), soft_wrap=True)


if __name__ == "__main__":
    run(app, "python -m results.ingest")
