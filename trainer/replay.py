"""`python -m trainer.replay TRIAL`: train a trial again from its row, and say whether its curve came back."""

from __future__ import annotations

from typing import Annotated

import typer

from results.cli import DEFAULT_STORAGE, run

EXAMPLES = """\
Train a trial again from its row, print the recorded and the new curve side by side, and a verdict:

identical, within tolerance, or different (exit 1) with what differs in code, versions, machine and data.

Writes nothing into the trial's row; the replay's own files go to a temporary folder.

Examples:

  python -m trainer.replay quickstart-1.7

  python -m trainer.replay baseline-2.4 --epochs 3      only the first three epochs
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    trial: Annotated[str, typer.Argument(help="A trial's id.")],
    epochs: Annotated[int | None, typer.Option(help="Replay so many epochs. Default: all that were recorded.")] = None,
    data: Annotated[str | None, typer.Option(help="A packed data set, if not the trial's own.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    from trainer.replayed import replay

    raise typer.Exit(replay(trial, epochs=epochs, data=data, storage=storage))


if __name__ == "__main__":
    run(app, "python -m trainer.replay")
