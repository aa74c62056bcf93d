"""`python -m trainer.run KEY=VALUE ...`: one trial without a search."""

from __future__ import annotations

from typing import Annotated

import typer

from results.cli import DEFAULT_STORAGE, run
from trainer.ahead import compile_ahead, wake_driver

EXAMPLES = """\
Train one trial, as a search would, with a progress bar; its rows go under the search `single-1`.

The same dictionary again goes on where an interrupted trial stopped; --reset starts it anew.

Examples:

  python -m trainer.run ffn=fff ffn.fff.depth=4 patch=8 dim=64 depth=2 epochs=5 batch_size=64

  python -m trainer.run data=cifar10 epochs=30 lr=2e-3 layout=pair

  python -m trainer.run data=cifar10 epochs=30 lr=2e-3 layout=pair --reset
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    pairs: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Keys of the trial.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Train from scratch, whatever there is already.")] = False,
    threads: Annotated[int | None, typer.Option(help="torch's CPU threads. Default: all cores.")] = None,
    variants: Annotated[
        list[str] | None, typer.Option(help="A file or folder of feed-forward kinds of your own; repeatable.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Where results go: any SQLAlchemy URL.")] = DEFAULT_STORAGE,
) -> None:
    wake_driver()
    compile_ahead({key: value for key, _, value in (pair.partition("=") for pair in pairs or [])}, variants or ())
    from trainer.single import train_single  # imports torch, for seconds

    code = train_single(pairs or [], reset=reset, threads=threads, variants=tuple(variants or ()), storage=storage)
    raise typer.Exit(code)


if __name__ == "__main__":
    run(app, "python -m trainer.run")
