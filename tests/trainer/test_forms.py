"""Auxiliary losses in training, and the accuracy of a kind's other execution forms, as a trial reports them."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arch_space.auxiliary import auxiliary_loss
from arch_space.execution import set_execution
from arch_space.initialise import initialise
from trainer.evaluation import EVALUATION_BATCH, evaluate
from trainer.input_pipeline import EvalLoader, TrainLoader
from trainer.located import Located, load_trained
from trainer.resolve import cached_dataset, resolve
from trainer.trial import Trial

CPU = torch.device("cpu")
SMALL = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 2, "heads": 1, "batch_size": 128, "epochs": 2, "dropout": 0.0,
    "ffn": "fff_soft", "ffn.fff_soft.depth": 2, "ffn.fff_soft.leaf_width": 4, "ffn.fff_soft.hardening_weight": 2.0,
    "ffn.fff_soft.balance_weight": 1.0, "lr": 5e-3,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _data(digits):
    """The session's packed digits."""


def train(folder, **changes):
    config = resolve({**SMALL, **changes}, on_gpu=False)
    trial = Trial(config, folder, device=CPU, threads=1)
    reports = list(trial.reports())
    trial.close()
    return config, [report.row for report in reports]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_auxiliary_losses_are_minimised_with_the_loss_and_reported_beside_it(tmp_path, accumulation):
    """The engine's steps against a bare loop of the same, whose parts are summed apart."""
    config, rows = train(tmp_path, epochs=1, accumulation=accumulation)
    data = cached_dataset("digits")
    model = config.model.build()
    initialise(model, config.seed)
    exempt = ("positions", "out_bias")
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and not name.endswith(exempt)]
    rest = [p for name, p in model.named_parameters() if p.ndim < 2 or name.endswith(exempt)]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": rest, "weight_decay": 0.0}], weight_decay=0.05)
    steps = len(data.train) // config.batch_size
    loader = TrainLoader(
        data.train, dataset=data, batch_size=config.micro_batch, augment=config.augment, seed=0, device=CPU,
        steps=steps * accumulation,
    )  # fmt: skip
    plain = extra = 0.0
    for number, (images, labels) in enumerate(loader.epoch()):
        step, part = divmod(number, accumulation)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (step + 1) / steps  # one warm-up epoch
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        auxiliary = auxiliary_loss(model)
        ((loss + auxiliary) / accumulation).backward()
        if part == accumulation - 1:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        plain, extra = plain + loss.item(), extra + auxiliary.item()
    loader.close()
    assert rows[0].train_loss == pytest.approx(plain / (steps * accumulation), rel=1e-4)
    assert rows[0].extra["auxiliary_loss"] == pytest.approx(extra / (steps * accumulation), rel=1e-4)


def test_the_accuracy_of_the_soft_form_is_reported_beside_the_hard_one_of_the_row(tmp_path):
    _, rows = train(tmp_path)
    trained = load_trained(Located(path=tmp_path / "selected.pt", row=None))
    data = cached_dataset("digits")
    found = {}
    for form in ("dense", "conditional", "soft"):
        set_execution(trained.model, form)
        loader = EvalLoader(data.val, dataset=data, batch_size=EVALUATION_BATCH, augment="crop_resized", device=CPU)
        found[form] = evaluate(trained.model, loader, CPU, "fp32").accuracy
        loader.close()
    assert rows[-1].val_acc == found["dense"] == found["conditional"]
    assert rows[-1].extra["val_acc_soft"] == found["soft"]
    assert found["soft"] != found["dense"]  # or the test would show nothing


def test_the_mean_of_each_epoch_starts_anew_and_tensorboard_has_it(tmp_path):
    _, rows = train(tmp_path)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for tag, key in (("train/auxiliary_loss", "auxiliary_loss"), ("val/accuracy_soft", "val_acc_soft")):
        assert [event.value for event in board.Scalars(tag)] == pytest.approx([row.extra[key] for row in rows])
    assert rows[1].extra["auxiliary_loss"] < rows[0].extra["auxiliary_loss"]


def test_a_kind_without_auxiliary_losses_and_forms_reports_none(tmp_path):
    config = resolve({**{k: v for k, v in SMALL.items() if not k.startswith("ffn")}, "epochs": 1}, on_gpu=False)
    trial = Trial(config, tmp_path, device=CPU, threads=1)
    (report,) = trial.reports()
    trial.close()
    assert report.row.extra == {}
