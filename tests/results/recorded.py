"""Searches written through the store itself, with curves made up for the display tests."""

from results.rows import DecisionRow, EpochRow
from results.store import Store


def new_store(folder):
    return Store.open(f"sqlite:///{folder}/arbor.db")


def search(store, *, grid=False, seeds=(0,), rungs=(), **settings):
    values = {
        "grid": [{}] if grid else None, "seeds": list(seeds), "rungs": list(rungs), "val_images": 5000,
        "scheduler": "none" if grid else "asha", **settings,
    }  # fmt: skip
    return store.create_search("toy", "Which is best?", values, {})


def trial(store, search_id, accuracies, status="finished", seed=0, test_acc=None, ffn="mlp", hidden=8, **config):
    """A trial with one epoch an accuracy; `stopped` ones get a decision at their last epoch."""
    flat = {"ffn": ffn, f"ffn.{ffn}.hidden": hidden, "layout": "single", "lr": 1e-3, "data": "digits",
            "epochs": 3, "batch_size": 64, "augment": "none", "seed": seed, **config}  # fmt: skip
    number = len(store.trials(search_id)) + 1
    name = store.add_trial(
        search_id,
        number,
        flat,
        parameters=1000 * hidden,
        neurons_used=hidden,
        macs=9 * hidden,
        macs_conditional=9 * hidden,
    )
    for epoch, accuracy in enumerate(accuracies, start=1):
        last = epoch == len(accuracies)
        row = EpochRow(
            epoch=epoch, train_loss=1.0, val_loss=1.0, val_acc=accuracy, lr=1e-3,
            train_seconds=1.0, val_seconds=0.1, images_per_second=10.0,
        )  # fmt: skip
        decision = None
        if last and status == "stopped":
            decision = DecisionRow(
                trial_id=name, epoch=epoch, scheduler="asha", rung=epoch, value=accuracy, cutoff=1.0, decision="stop"
            )
        columns = {"status": status if last else "running", "wall_seconds": float(epoch), "gpu_seconds": 0.0}
        if last and test_acc is not None:
            columns["test_acc"] = test_acc
        store.commit_report(name, row, decision, **columns)
    if not accuracies:
        store.update_trial(name, status=status)
    return name
