"""One trial, in this process: what it reports, keeps and brings back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from results.errors import InputError
from trainer import checkpoint
from trainer.input_pipeline import EvalLoader
from trainer.resolve import resolve
from trainer.trial import Trial

CPU = torch.device("cpu")
SMALL = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 3,
    "ffn": "fff", "ffn.fff.depth": 2, "lr": 5e-3,
}  # fmt: skip
COMPARED = ("epoch", "train_loss", "val_loss", "val_acc", "lr")


@pytest.fixture(autouse=True)
def _data(digits):
    """The session's packed digits."""


def config_of(**changes):
    return resolve({**SMALL, **changes}, on_gpu=False)


def train(config, folder, epochs=None, **options):
    """The reports of a trial, left after `epochs`."""
    trial = Trial(config, folder, device=CPU, threads=1, **options)
    reports = []
    for report in trial.reports():
        reports.append(report)
        if epochs is not None and len(reports) == epochs:
            break
    trial.close()
    return reports


def curve(reports):
    return [tuple(getattr(report.row, name) for name in COMPARED) for report in reports]


def test_a_trial_learns_and_ends_with_one_test_of_its_selected_checkpoint(tmp_path):
    reports = train(config_of(epochs=6), tmp_path)
    assert [report.row.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert reports[-1].row.train_loss < 0.9 * reports[0].row.train_loss
    assert [report.status for report in reports] == ["running"] * 5 + ["finished"]
    assert [report.test_acc is not None for report in reports] == [False] * 5 + [True]
    kept = np.load(tmp_path / checkpoint.PREDICTIONS)
    assert kept["val"].dtype == np.uint8
    checkpoint.remove_resume_files(tmp_path)
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert {"selected.pt", "predictions.npz"} <= names
    assert not any(name.startswith(("last", "best")) for name in names)


@pytest.mark.parametrize("ffn", ["mlp", "fff", "fff_soft"])
def test_a_trial_that_was_left_after_any_epoch_goes_on_bit_for_bit(tmp_path, ffn):
    keys = {key: value for key, value in SMALL.items() if ffn == "fff" or not key.startswith("ffn")}
    config = resolve({**keys, "ffn": ffn}, on_gpu=False)
    whole = train(config, tmp_path / "whole")
    first = train(config, tmp_path / "parts", epochs=1)
    second = train(config, tmp_path / "parts", epochs=1, reported=1)
    third = train(config, tmp_path / "parts", reported=2)
    assert curve(first + second + third) == curve(whole)
    assert third[-1].test_loss == whole[-1].test_loss
    weights = [torch.load(tmp_path / part / "selected.pt", weights_only=True)["model"] for part in ("whole", "parts")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_reports_that_the_receiver_missed_are_handed_out_again(tmp_path):
    config = config_of()
    trained = train(config, tmp_path, epochs=2)
    again = train(config, tmp_path, reported=1)
    assert curve(again[:1]) == curve(trained[1:])
    assert [report.row.epoch for report in again] == [2, 3]


def test_an_ended_trial_reports_its_end_again_and_trains_no_more(tmp_path):
    config = config_of(epochs=2)
    whole = train(config, tmp_path)
    assert train(config, tmp_path, reported=1) == whole[1:]
    assert train(config, tmp_path, reported=2) == []


def test_a_loss_that_is_not_finite_ends_the_trial_as_diverged(tmp_path):
    # decoupled decay multiplies the weights by 1 - lr * decay = -899 at every step
    config = config_of(lr=100.0, weight_decay=9.0, warmup_epochs=0, epochs=30)
    reports = train(config, tmp_path)
    assert reports[-1].status == "diverged"
    assert len(reports) < 30
    assert reports[-1].test_acc is None


def test_patience_ends_a_trial_as_plateau_and_tests_it(tmp_path):
    # a rate so small that nothing improves beyond noise for long
    reports = train(config_of(lr=1e-9, patience=1, epochs=30, dropout=0.0), tmp_path)
    assert reports[-1].status == "plateau"
    assert len(reports) < 30
    assert reports[-1].test_acc is not None


def test_select_best_tests_the_weights_of_the_best_epoch(tmp_path):
    config = config_of(select="best", epochs=4, lr=2e-2)
    reports = train(config, tmp_path)
    content = torch.load(tmp_path / "selected.pt", weights_only=True)
    best = max(reports, key=lambda report: report.row.val_acc)
    assert reports[content["epoch"] - 1].row.val_acc == best.row.val_acc


def test_accumulated_micro_batches_make_the_step_of_one_batch(tmp_path):
    whole = train(config_of(dropout=0.0, epochs=2), tmp_path / "whole")
    parts = train(config_of(dropout=0.0, epochs=2, accumulation=4), tmp_path / "parts")
    for one, other in zip(whole, parts, strict=True):
        assert one.row.train_loss == pytest.approx(other.row.train_loss, rel=1e-4)
        assert one.row.val_loss == pytest.approx(other.row.val_loss, rel=1e-3)


def test_the_engine_steps_as_a_bare_torch_loop_does(tmp_path):
    """DeepSpeed's engine, clipping and schedule against the same written out in ten lines."""
    from arch_space.initialise import initialise
    from trainer.input_pipeline import TrainLoader
    from trainer.resolve import cached_dataset

    config = config_of(dropout=0.0, epochs=1, clip_norm=0.5)
    (report,) = train(config, tmp_path)
    data = cached_dataset("digits")
    model = config.model.build()
    initialise(model, config.seed)
    steps = len(data.train) // config.batch_size
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if p.ndim == 2 and not name.endswith("positions")]
    rest = [p for name, p in named.items() if p.ndim < 2 or name.endswith("positions")]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": rest, "weight_decay": 0.0}], weight_decay=0.05)
    loader = TrainLoader(
        data.train, dataset=data, batch_size=config.batch_size, augment=config.augment, seed=0, device=CPU, steps=steps
    )
    total = 0.0
    for step, (images, labels) in enumerate(loader.epoch()):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (step + 1) / steps  # one warm-up epoch
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        total += loss.item()
    loader.close()
    assert report.row.train_loss == pytest.approx(total / steps, rel=1e-4)


def test_a_damaged_checkpoint_is_refused_with_a_sentence(tmp_path):
    config = config_of()
    train(config, tmp_path, epochs=1)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"last\.pt is damaged or not a checkpoint"):
        train(config, tmp_path)


def test_a_checkpoint_of_another_trial_is_refused_with_the_key_that_differs(tmp_path):
    train(config_of(), tmp_path, epochs=1)
    with pytest.raises(InputError, match=r"belongs to another trial: lr is 0\.005 in the file, and 0\.001"):
        train(config_of(lr=1e-3), tmp_path)


def test_a_checkpoint_holds_plain_values_only_and_its_own_dictionary(tmp_path):
    config = config_of()
    train(config, tmp_path, epochs=1)
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    assert content["flat"] == config.to_flat()
    other = replace(config.model, dim=32).build()
    with pytest.raises(InputError, match="another shape than the model"):
        checkpoint.load_weights(other, content, tmp_path / "last.pt")


def test_the_stored_loss_is_what_an_evaluation_of_the_checkpoint_finds(tmp_path):
    from trainer.evaluation import EVALUATION_BATCH, evaluate
    from trainer.located import Located, load_trained
    from trainer.resolve import cached_dataset

    reports = train(config_of(epochs=2), tmp_path)
    trained = load_trained(Located(path=tmp_path / "selected.pt", row=None))
    assert trained.epoch == 2
    data = cached_dataset("digits")
    loader = EvalLoader(data.val, dataset=data, batch_size=EVALUATION_BATCH, augment="crop_resized", device=CPU)
    result = evaluate(trained.model, loader, CPU, "fp32")
    loader.close()
    assert result.loss == reports[-1].row.val_loss
    assert result.accuracy == reports[-1].row.val_acc


def test_epochs_that_were_reported_but_not_yet_written_are_trained_again_in_silence(tmp_path, monkeypatch):
    """A kill while the disk lags behind: the store has three epochs, the file one."""
    config = config_of(epochs=5)
    whole = curve(train(config, tmp_path / "whole"))
    save, saved = checkpoint.save, []

    def first_alone(path, content):
        if path.name == checkpoint.LAST:
            saved.append(path)
            if len(saved) > 1:
                return
        save(path, content)

    with monkeypatch.context() as lagging:
        lagging.setattr(checkpoint, "save", first_alone)
        assert curve(train(config, tmp_path / "cut", epochs=3)) == whole[:3]
    assert curve(train(config, tmp_path / "cut", reported=3)) == whole[3:]


def test_more_micro_batches_than_asked_change_neither_the_trial_nor_its_step(tmp_path):
    """As after a GPU ran out of memory: the first epoch as asked, the second in four parts, from the same checkpoint."""
    config = config_of(dropout=0.0, epochs=2)
    whole = train(config, tmp_path / "whole")
    parts = train(config, tmp_path / "parts", epochs=1)
    parts += train(config, tmp_path / "parts", reported=1, accumulation=4)
    assert curve(parts)[0] == curve(whole)[0]
    assert curve(parts)[1] != curve(whole)[1], "it was cut, and rounds otherwise"
    assert parts[1].row.train_loss == pytest.approx(whole[1].row.train_loss, rel=1e-4)
    assert parts[1].row.val_loss == pytest.approx(whole[1].row.val_loss, rel=1e-3)
    assert torch.load(tmp_path / "parts" / "selected.pt", weights_only=True)["flat"] == config.to_flat()
