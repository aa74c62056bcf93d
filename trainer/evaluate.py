"""`python -m trainer.evaluate TRIAL`: loss and accuracy of a trial's checkpoint."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from results.cli import DEFAULT_STORAGE, run

if TYPE_CHECKING:
    import torch

    from trainer.evaluation import Evaluation
    from trainer.input_pipeline import EvalLoader
    from trainer.located import Trained

EXAMPLES = """\
Loss and accuracy of a trial's selected checkpoint, on the validation images unless told otherwise.

Works while the trial trains; writes nothing into its row.

With --execution a kind that has several execution forms is evaluated by that one: `dense` computes all of a tree and masks
it, `conditional` reads what an input visits, `soft` mixes all leaves. It is told how many images the kind's default form
predicts otherwise, and how many paths through the trees (token x feed-forward x tree) the trial's precision turns against
float64: on the same inputs of each tree, and through the whole model.

Examples:

  python -m trainer.evaluate quickstart-1.7

  python -m trainer.evaluate quickstart-1.7 --split test --json

  python -m trainer.evaluate quickstart-1.7 --execution conditional

  python -m trainer.evaluate runs/quickstart-1/007-*/selected.pt
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
    execution: Annotated[
        str | None, typer.Option(metavar="FORM", help="How trees are computed: dense, conditional or soft.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    import torch

    from trainer.engine import device_of
    from trainer.evaluation import EVALUATION_BATCH
    from trainer.forms import forms_to_compare
    from trainer.input_pipeline import EvalLoader
    from trainer.located import load_trained, locate
    from trainer.paths import turned_paths
    from trainer.recorded import recorded_dataset, threads_of

    located = locate(trial, storage)
    device = device_of(torch.cuda.is_available())
    threads = threads_of(located.row)
    torch.set_num_threads(threads)
    trained = load_trained(located, device)
    forms = forms_to_compare(trained.model, execution)
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
    results = _evaluate(trained, forms, loader, len(images), device, quiet=as_json)
    result = results[-1]
    turned = None
    if execution is not None:
        turned = turned_paths(trained.model, next(iter(loader)).images, device, trained.config.precision)
    loader.close()
    differing = int((results[0].predictions != result.predictions).sum())
    stored = _stored(located.row, trained.epoch, split, storage)
    if as_json:
        answer: dict[str, Any] = {
            "trial": located.row.id if located.row else None,
            "checkpoint": str(located.path),
            "epoch": trained.epoch,
            "split": split.value,
            "images": len(images),
            "execution": forms[-1],
            "loss": result.loss,
            "accuracy": result.accuracy,
            "stored_loss": stored[0],
            "stored_accuracy": stored[1],
        }
        if execution is not None:
            answer |= {
                "default_execution": forms[0],
                "predicted_differently": differing,
                "turned_paths": dataclasses.asdict(turned) if turned else None,
            }
        typer.echo(json.dumps(answer))
        return
    name = {"val": "Validation", "test": "Test", "train": "Training"}[split.value]
    typer.echo(f"Checkpoint: {located.path} (epoch {trained.epoch} of {trained.config.epochs})")
    typer.echo(f"{name} loss = {result.loss:.6f}")
    typer.echo(f"{name} accuracy: {100 * result.accuracy:.2f} % of {len(images)} images")
    if stored[0] is not None and stored[1] is not None:
        by = f" (by {forms[0]})" if len(forms) > 1 else ""
        typer.echo(f"Stored for this checkpoint{by}: loss {stored[0]:.6f}, accuracy {100 * stored[1]:.2f} %")
    if len(forms) > 1:
        typer.echo(f"Predicted differently by {forms[0]} and by {execution}: {differing} of {len(images)} images")
    if turned:
        typer.echo(
            f"Paths that {trained.config.precision} turns against float64, in the first {turned.images} images: "
            f"{100 * turned.same_inputs:.3f} % on the same inputs, {100 * turned.whole_model:.3f} % through the whole model"
        )


def _evaluate(
    trained: Trained,
    forms: Sequence[str | None],
    loader: EvalLoader,
    images: int,
    device: torch.device,
    *,
    quiet: bool,
) -> list[Evaluation]:
    """By each form in turn; the model keeps the last."""
    from arch_space.execution import set_execution
    from trainer.evaluation import evaluate

    results = []
    columns = (TextColumn("Evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("", total=images * len(forms))
        for form in forms:
            if form is not None:
                set_execution(trained.model, form)
            results.append(
                evaluate(
                    trained.model, loader, device, trained.config.precision, lambda count: progress.advance(task, count)
                )
            )
    return results


def _stored(row: object, epoch: int, split: SplitName, storage: str) -> tuple[float | None, float | None]:
    """What the store has for this checkpoint and split; (None, None) where it has nothing."""
    from results.rows import TrialRow
    from results.store import Store

    if not isinstance(row, TrialRow) or split is SplitName.train:
        return None, None
    with Store.open(storage, create=False, to_read=True) as store:
        if split is SplitName.test:
            fresh = store.trial(row.id)
            return fresh.test_loss, fresh.test_acc
        for entry in store.epochs(row.id):
            if entry.epoch == epoch:
                return entry.val_loss, entry.val_acc
    return None, None


if __name__ == "__main__":
    run(app, "python -m trainer.evaluate")
