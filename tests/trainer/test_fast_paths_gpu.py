"""Every fast path of a trial on a GPU against its slow twin: recorded against called, compiled against eager."""

import pytest
import torch

from trainer import compiled
from trainer.evaluate import app as evaluate_app  # noqa: F401  # the command must load beside the fast paths
from trainer.resolve import resolve
from trainer.step import GraphedStep
from trainer.trial import Trial

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
GPU = torch.device("cuda", 0)
SMALL = {"data": "digits", "patch": 8, "dim": 64, "depth": 2, "heads": 2, "batch_size": 128, "epochs": 4, "lr": 2e-3}


@pytest.fixture(autouse=True)
def _data(digits):
    """The session's packed digits."""


def curve(config, folder, *, graphed=True, epochs=None):
    trial = Trial(config, folder, device=GPU, threads=1)
    if not graphed:
        trial._step = trial._engine_step
    said = []
    for report in trial.reports():
        said.append((report.row.train_loss, report.row.val_loss, report.row.val_acc))
        if len(said) == epochs:
            break
    extra = report.row.extra
    trial.close()
    return said, extra


def config_of(**changes):
    return resolve({**SMALL, **changes}, on_gpu=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_recorded_step_computes_what_the_called_one_computes(tmp_path, optimizer, accumulation):
    config = config_of(optimizer=optimizer, accumulation=accumulation, dropout=0.1)
    recorded, _ = curve(config, tmp_path / "recorded")
    called, _ = curve(config, tmp_path / "called", graphed=False)
    for one, other in zip(recorded, called, strict=True):
        assert one == pytest.approx(other, rel=0.02, abs=0.02)
    assert recorded[-1][0] < recorded[0][0]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_deterministic_trial_comes_back_bit_for_bit_also_when_it_was_cut(tmp_path, optimizer):
    config = config_of(optimizer=optimizer, deterministic=True, dropout=0.1)
    whole, _ = curve(config, tmp_path / "whole")
    again, _ = curve(config, tmp_path / "again")
    assert again == whole
    curve(config, tmp_path / "cut", epochs=2)
    trial = Trial(config, tmp_path / "cut", device=GPU, threads=1)
    rest = [(r.row.train_loss, r.row.val_loss, r.row.val_acc) for r in trial.reports()]
    trial.close()
    assert rest[-2:] == whole[2:]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_rates_by_tree_level_are_recorded_with_the_step(tmp_path, optimizer):
    """Bit for bit: a recording without the two hooks on the optimizer's step would train at one rate."""
    flat = {"ffn": "fff", "ffn.fff.depth": 3, "ffn.fff.level_lr_ratio": 0.5}
    config = config_of(optimizer=optimizer, deterministic=True, clip_norm=0.5, **flat)
    recorded, extra = curve(config, tmp_path / "recorded")
    called, called_extra = curve(config, tmp_path / "called", graphed=False)
    assert recorded == called
    assert extra["trees"] == called_extra["trees"]
    one_rate, _ = curve(
        config_of(optimizer=optimizer, deterministic=True, clip_norm=0.5, **{**flat, "ffn.fff.level_lr_ratio": 1.0}),
        tmp_path / "one",
    )
    assert one_rate != recorded


@pytest.mark.parametrize(
    "flat", [{"ffn": "fff", "ffn.fff.depth": 3, "ffn.fff.trees": 2}, {"ffn": "fff_soft", "ffn.fff_soft.depth": 2}]
)
def test_recorded_diagnostics_are_those_of_calls(tmp_path, flat):
    config = config_of(deterministic=True, dropout=0.1, epochs=5, **flat)
    said = {}
    for way in ("recorded", "called"):
        trial = Trial(config, tmp_path / way, device=GPU, threads=1)
        if way == "called":
            trial._diagnostics._side = None
        said[way] = [report.row.extra["trees"] for report in trial.reports()]
        assert trial._diagnostics.refused is None
        assert (trial._diagnostics._recording is not None) == (way == "recorded")
        trial.close()
    assert said["recorded"] == said["called"]
    assert len({trees["path_agreement"] for trees in said["called"]}) > 2


def test_diagnostics_of_a_kind_that_waits_for_the_gpu_are_measured_by_calls(tmp_path, monkeypatch):
    from arch_space.ffn.fff import FFF

    honest = FFF.leaves

    def reads(self, x):
        assert x.float().sum().item() == x.float().sum().item()
        return honest(self, x)

    monkeypatch.setattr(FFF, "leaves", reads)
    trial = Trial(config_of(ffn="fff", compile=False), tmp_path, device=GPU, threads=1)
    agreements = [report.row.extra["trees"]["path_agreement"] for report in trial.reports()]
    assert trial._diagnostics.refused is not None
    trial.close()
    assert agreements[0] is None
    assert all(0 < agreement <= 1 for agreement in agreements[1:])


SOFT = {"ffn": "fff_soft", "ffn.fff_soft.depth": 3, "ffn.fff_soft.leaf_width": 8}


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_recorded_step_adds_up_the_auxiliary_losses_that_the_called_one_adds_up(tmp_path, accumulation):
    config = config_of(accumulation=accumulation, dropout=0.1, **SOFT)
    _, recorded = curve(config, tmp_path / "recorded")
    _, called = curve(config, tmp_path / "called", graphed=False)
    assert recorded["auxiliary_loss"] == pytest.approx(called["auxiliary_loss"], rel=0.02)
    trial = Trial(config, tmp_path / "held", device=GPU, threads=1)
    next(trial.reports())
    assert trial._step.refused is None
    trial.close()


@pytest.mark.parametrize(
    "flat", [{}, {"ffn": "fff", "ffn.fff.depth": 3, "ffn.fff.trees": 2, "layout": "pair"}, {**SOFT, "layout": "pair"}]
)
def test_compiled_blocks_learn_what_eager_ones_learn(tmp_path, flat, monkeypatch):
    monkeypatch.setattr(compiled, "REPAYS_LOADING", 1)
    config = config_of(dropout=0.0, **flat)
    compiled.Compilation(config, config.model.build(), wanted=True).finish()
    fast, extra = curve(config, tmp_path / "fast")
    assert extra["compiled"] is True
    slow, extra = curve(config_of(dropout=0.0, compile=False, **flat), tmp_path / "slow")
    assert "compiled" not in extra
    for one, other in zip(fast, slow, strict=True):
        assert one == pytest.approx(other, rel=0.05, abs=0.05)


def test_a_kind_that_waits_for_the_gpu_is_trained_by_calls(tmp_path, monkeypatch):
    """A recording cannot hold a kind which reads a value on the host."""
    from arch_space.ffn.mlp import MLP

    honest = MLP.forward

    def reads(self, x):
        assert x.float().sum().item() == x.float().sum().item()
        return honest(self, x)

    monkeypatch.setattr(MLP, "forward", reads)
    trial = Trial(config_of(compile=False), tmp_path, device=GPU, threads=1)
    losses = [report.row.train_loss for report in trial.reports()]
    assert isinstance(trial._step, GraphedStep)
    assert trial._step.refused is not None
    trial.close()
    assert losses[-1] < losses[0]
