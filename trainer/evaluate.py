"""`python -m trainer.evaluate TRIAL`: loss and accuracy of a trial's checkpoint."""

from __future__ import annotations

import enum
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from results.cli import DEFAULT_STORAGE, run

EXAMPLES = """\
Loss and accuracy of a trial's selected checkpoint, on the validation images unless told otherwise.

Works while the trial trains; writes nothing into its row.

Examples:

  python -m trainer.evaluate quickstart-1.7

  python -m trainer.evaluate quickstart-1.7 --split test --json

  python -m trainer.evaluate runs/quickstart-1/007-fff/selected.pt
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


class SplitName(enum.StrEnum):
    """Parts of a data set."""

    train = "train"
    val = "val"
    test = "test"


@app.command(help=EXAMPLES)
def main(
    trial: Annotated[str, typer.Argument(help="A trial's id, or the path of a checkpoint.")],
    split: Annotated[SplitName, typer.Option(help="The images to evaluate on.")] = SplitName.val,
    data: Annotated[str | None, typer.Option(help="A packed data set, if not the trial's own.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    import torch

    from trainer.engine import device_of
    from trainer.evaluation import EVALUATION_BATCH, evaluate
    from trainer.input_pipeline import EvalLoader
    from trainer.located import load_trained, locate
    from trainer.recorded import recorded_dataset, threads_of

    located = locate(trial, storage)
    device = device_of(torch.cuda.is_available())
    threads = threads_of(located.row)
    torch.set_num_threads(threads)
    trained = load_trained(located, device)
    dataset = recorded_dataset(trained.config, located.row, data)
    images = getattr(dataset, split.value)
    loader = EvalLoader(
        images,
        dataset=dataset,
        batch_size=EVALUATION_BATCH,
        augment=trained.config.augment,
        device=device,
        threads=threads,
    )
    columns = (TextColumn("Evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as progress:
        task = progress.add_task("", total=len(images))
        result = evaluate(
            trained.model, loader, device, trained.config.precision, lambda count: progress.advance(task, count)
        )
    loader.close()
    stored = _stored(located.row, trained.epoch, split, storage)
    if as_json:
        answer = {
            "trial": located.row.id if located.row else None,
            "checkpoint": str(located.path),
            "epoch": trained.epoch,
            "split": split.value,
            "images": len(images),
            "loss": result.loss,
            "accuracy": result.accuracy,
            "stored_loss": stored[0],
            "stored_accuracy": stored[1],
        }
        typer.echo(json.dumps(answer))
        return
    name = {"val": "Validation", "test": "Test", "train": "Training"}[split.value]
    typer.echo(f"Checkpoint: {located.path} (epoch {trained.epoch} of {trained.config.epochs})")
    typer.echo(f"{name} loss = {result.loss:.6f}")
    typer.echo(f"{name} accuracy: {100 * result.accuracy:.2f} % of {len(images)} images")
    if stored[0] is not None and stored[1] is not None:
        typer.echo(f"Stored for this checkpoint: loss {stored[0]:.6f}, accuracy {100 * stored[1]:.2f} %")


def _stored(row: object, epoch: int, split: SplitName, storage: str) -> tuple[float | None, float | None]:
    """What the store has for this checkpoint and split; (None, None) where it has nothing."""
    from results.rows import TrialRow
    from results.store import Store

    if not isinstance(row, TrialRow) or split is SplitName.train:
        return None, None
    with Store.open(storage, create=False) as store:
        if split is SplitName.test:
            fresh = store.trial(row.id)
            return fresh.test_loss, fresh.test_acc
        for entry in store.epochs(row.id):
            if entry.epoch == epoch:
                return entry.val_loss, entry.val_acc
    return None, None


if __name__ == "__main__":
    run(app, "python -m trainer.evaluate")
