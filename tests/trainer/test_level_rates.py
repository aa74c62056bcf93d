"""Learning rates by tree level, against plain optimizers that have one parameter group for each level, in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from arch_space.initialise import initialise
from results.errors import InputError
from trainer import checkpoint
from trainer.config import TrialConfig
from trainer.engine import build_engine
from trainer.input_pipeline import Batch
from trainer.level_rates import level_rates_of, scale_updates
from trainer.optimizer import build_optimizer, set_rate
from trainer.resolve import resolve
from trainer.step import EngineStep, smoothed_cross_entropy
from trainer.trial import Trial

CPU = torch.device("cpu")
DEPTH, RATIO, DECAY = 3, 0.6, 0.3
SMALL = {
    "dim": 16, "depth": 2, "heads": 1, "patch": 16, "dropout": 0.0, "precision": "fp32", "batch_size": 8,
    "weight_decay": DECAY, "lr": 0.02, "ffn": "fff", "ffn.fff.depth": DEPTH, "ffn.fff.trees": 2,
    "ffn.fff.dense_rows": 2, "ffn.fff.level_lr_ratio": RATIO,
}  # fmt: skip
RATES = (0.02, 0.01, 0.015, 0.002)


def float64_model(config):
    model = config.model.build()
    initialise(model, 0)
    return model.double()


def batches_of(config, step):
    """The micro-batches of one step."""
    random = torch.Generator().manual_seed(step)
    return [
        Batch(
            torch.randn(config.micro_batch, 3, 32, 32, generator=random, dtype=torch.float64),
            torch.randint(10, (config.micro_batch,), generator=random),
        )
        for _ in range(config.accumulation)
    ]


class ByLevel:
    """The same model, its trees cut into one parameter a level, each in a group of a plain optimizer with its own rate."""

    def __init__(self, model, config):
        self.model, self.config = copy.deepcopy(model), config
        self.plain = {}
        self.cut = {}
        groups = []
        trees = {name: module for name, module in self.model.named_modules() if hasattr(module, "levels")}
        assert len(trees) == 2
        of_trees = {f"{name}.{own}": rows for name, tree in trees.items() for own, rows in tree.levels().items()}
        for name, parameter in self.model.named_parameters():
            exempt = parameter.ndim < 2 or name.endswith("positions")
            decay = 0.0 if exempt else DECAY
            if name not in of_trees:
                self.plain[name] = nn.Parameter(parameter.detach().clone())
                groups.append({"params": [self.plain[name]], "weight_decay": decay, "factor": 1.0})
                continue
            for level in range(DEPTH + 1):
                piece = nn.Parameter(parameter.detach()[of_trees[name] == level].clone())
                self.cut.setdefault(name, []).append((of_trees[name] == level, piece))
                factor = RATIO ** (DEPTH - level)
                groups.append({"params": [piece], "weight_decay": decay, "factor": factor})
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=1.0)

    def parameters(self):
        whole = dict(self.plain)
        for name, pieces in self.cut.items():
            whole[name] = torch.zeros_like(self.model.get_parameter(name))
            for rows, piece in pieces:
                places = rows.nonzero().flatten()
                whole[name] = whole[name].index_add(0, places, piece)
        return whole

    def step(self, batches, lr):
        self.optimizer.zero_grad()
        for images, labels in batches:
            logits = functional_call(self.model, self.parameters(), (images,))
            # in float32, as the trainer takes the loss
            (nn.functional.cross_entropy(logits.float(), labels) / len(batches)).backward()
        everything = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(everything, self.config.clip_norm or torch.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        self.optimizer.step()
        return norm.item()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("clip_norm", "accumulation"), [(0.0, 1), (0.05, 1), (0.05, 2)])
def test_every_update_is_that_of_a_plain_optimizer_with_one_group_a_level(optimizer, clip_norm, accumulation):
    flat = {**SMALL, "optimizer": optimizer, "clip_norm": clip_norm, "accumulation": accumulation}
    config = TrialConfig.from_flat(flat)
    model = float64_model(config)
    reference = ByLevel(model, config)
    engine = build_engine(model, config, CPU)
    assert all(parameter.dtype == torch.float64 for parameter in engine.module.parameters())
    step = EngineStep(engine, smoothed_cross_entropy(0.0), clip_norm, CPU)
    for number, lr in enumerate(RATES):
        batches = batches_of(config, number)
        set_rate(engine.optimizer, lr)
        step(batches)
        norm = reference.step(batches, lr)
        assert not clip_norm or norm > clip_norm, "the clipping must have something to do"
        expected = reference.parameters()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                parameter, expected[name], rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
            )
    engine.destroy()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_update_is_the_plain_one_times_the_ratio_to_the_power_of_the_levels_below(optimizer):
    """From the same point and the same gradient, weight decay included."""
    moved = {}
    for ratio in (1.0, RATIO):
        config = TrialConfig.from_flat({**SMALL, "optimizer": optimizer, "ffn.fff.level_lr_ratio": ratio})
        model = float64_model(config)
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        by = build_optimizer(model, config, CPU)
        (images, labels), *_ = batches_of(config, 0)
        nn.functional.cross_entropy(model(images), labels).backward()
        by.step()
        moved[ratio] = {name: parameter.detach() - before[name] for name, parameter in model.named_parameters()}
    tree = model.blocks[0].ffn
    for name, scaled in moved[RATIO].items():
        own = name.removeprefix("blocks.0.ffn.").removeprefix("blocks.1.ffn.")
        if own not in tree.levels():
            assert torch.equal(scaled, moved[1.0][name]), name
            continue
        for level in range(DEPTH + 1):
            rows = tree.levels()[own] == level
            plain = moved[1.0][name][rows]
            assert plain.abs().sum() > 0
            torch.testing.assert_close(scaled[rows], plain * RATIO ** (DEPTH - level), rtol=1e-10, atol=1e-15)


def test_at_equal_mean_rate_the_leaves_go_faster_than_the_rate_and_the_root_slower():
    config = TrialConfig.from_flat({**SMALL, "ffn.fff.level_lr_equal_mean": True})
    rates = level_rates_of(config.model.ffn)
    assert rates[0] < 1 < rates[-1]
    assert sum(2**level * rate for level, rate in enumerate(rates)) == pytest.approx(15)
    sgd = torch.optim.SGD
    model, plain = float64_model(config), float64_model(config)
    optimizers = [sgd(each.parameters(), lr=0.1) for each in (model, plain)]
    scale_updates(optimizers[0], model)
    for each, optimizer in zip((model, plain), optimizers, strict=True):
        for parameter in each.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    start = float64_model(config).blocks[1].ffn.out_weight
    ratio = (model.blocks[1].ffn.out_weight - start) / (plain.blocks[1].ffn.out_weight - start)
    levels = model.blocks[1].ffn.levels()["out_weight"]
    torch.testing.assert_close(ratio, torch.tensor(rates, dtype=torch.float64)[levels].unsqueeze(1).expand_as(ratio))


@pytest.mark.parametrize("flat", [{}, {"ffn": "fff"}, {"ffn": "fff", "ffn.fff.level_lr_equal_mean": True}])
def test_where_all_levels_learn_alike_nothing_hooks_into_the_step(flat):
    config = TrialConfig.from_flat({**flat, "dim": 16, "depth": 1})
    optimizer = build_optimizer(config.model.build(), config, CPU)
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_muon_with_level_rates_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"adamw or sgd, but got \(optimizer=muon, level_lr_ratio=0\.6\)"):
        TrialConfig.from_flat({**SMALL, "optimizer": "muon"})
    TrialConfig.from_flat({**SMALL, "optimizer": "muon", "ffn.fff.level_lr_ratio": 1.0})
    model = TrialConfig.from_flat(SMALL).model.build()
    plain = TrialConfig.from_flat({"optimizer": "muon"})  # a module may have rates of which no config knows
    with pytest.raises(ValueError, match="must be used with AdamW or SGD, but got Muon"):
        build_optimizer(model, plain, CPU)


TRIAL = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 3, "lr": 5e-3,
    "ffn": "fff", "ffn.fff.depth": 2, "ffn.fff.level_lr_ratio": 0.5,
}  # fmt: skip


def weights_after(flat, folder, cut=None):
    config = resolve(flat, on_gpu=False)
    reported = 0
    for until in [cut, None] if cut else [None]:
        trial = Trial(config, folder, device=CPU, threads=1, reported=reported)
        for report in trial.reports():
            reported = report.row.epoch
            if reported == until:
                break
        trial.close()
    return torch.load(folder / checkpoint.SELECTED, weights_only=True)["model"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_trial_with_level_rates_goes_on_bit_for_bit_after_a_cut(tmp_path, digits, optimizer):
    flat = {**TRIAL, "optimizer": optimizer}
    whole = weights_after(flat, tmp_path / "whole")
    parts = weights_after(flat, tmp_path / "parts", cut=1)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    other = weights_after({**flat, "ffn.fff.level_lr_ratio": 1.0}, tmp_path / "other")
    assert any(not torch.equal(whole[name], other[name]) for name in whole)


def test_the_rates_by_level_are_in_tensorboard_once_an_epoch(tmp_path, digits):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    weights_after(TRIAL, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rate = [event.value for event in events.Scalars("learning_rate")]
    assert len(rate) == 3
    for level, factor in enumerate((0.25, 0.5, 1.0)):
        scaled = [event.value for event in events.Scalars(f"learning_rate/level_{level}")]
        assert scaled == pytest.approx([factor * each for each in rate])
