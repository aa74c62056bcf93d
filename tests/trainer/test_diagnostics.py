"""How trees are used: each number against a loop over inputs, and nothing of the trial changed by measuring it."""

import copy
import json
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from arch_space.ffn.fff import FFF
from arch_space.initialise import initialise
from trainer import checkpoint
from trainer.compiled import compile_regions
from trainer.diagnostics import PROBE, SHARE, Diagnostics
from trainer.input_pipeline import Batch
from trainer.resolve import cached_dataset, resolve
from trainer.trial import Trial

CPU = torch.device("cpu")
SMALL = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 2, "heads": 1, "batch_size": 128, "epochs": 3, "lr": 5e-3,
    "ffn": "fff", "ffn.fff.depth": 2, "ffn.fff.trees": 2, "dropout": 0.1,
}  # fmt: skip


class TwoTrees(nn.Module):
    """Images (B, 4, D) as tokens; the second tree module sees the first token alone, as a last block may."""

    compiled_region = True

    def __init__(self):
        super().__init__()
        self.first = FFF(6, 3, 2, 2)
        self.second = FFF(6, 2, 1, 0)

    def forward(self, tokens):
        x = tokens + self.first(tokens)
        return (x[:, :1] + self.second(x[:, :1]))[:, 0]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = TwoTrees()
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.block(images))


def model_and_probe(seed=0):
    model = Model()
    initialise(model, seed)
    random = torch.Generator().manual_seed(1)
    probe = Batch(torch.randn(20, 4, 6, generator=random), torch.randint(3, (20,), generator=random))
    return model, probe


def diagnostics_of(model, probe, leaves=None):
    trees = {"block.first": model.block.first, "block.second": model.block.second}
    return Diagnostics(model, trees, probe, "fp32", leaves or {})


def naive_leaves(tree, inputs):
    """One list of leaves a tree, by walking."""
    found = []
    for number in range(tree.trees):
        found.append([])
        for token in inputs:
            node = 0
            for _ in range(tree.depth):
                row = number * tree.nodes + node
                z = (tree.in_weight[row] @ token + tree.in_bias[row]).item()
                node = 2 * node + (2 if z > 0 else 1)
            found[-1].append(node - (2**tree.depth - 1))
    return found


def seen_by(model, probe):
    """What each tree module is given, (inputs, D)."""
    with torch.no_grad():
        x = probe.images + model.block.first(probe.images)
    return {"block.first": probe.images.flatten(0, 1), "block.second": x[:, 0]}


def test_every_number_is_that_of_a_loop_over_inputs_trees_and_levels():
    model, probe = model_and_probe()
    diagnostics = diagnostics_of(model, probe)
    before = diagnostics.measure(histogram=False)
    assert before["path_agreement"] is None
    assert "leaf_visits" not in before
    old = {name: naive_leaves(model.get_submodule(name), x) for name, x in seen_by(model, probe).items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.2)

    said = diagnostics.measure(histogram=True)
    slow = copy.deepcopy(model)
    F.cross_entropy(slow(probe.images), probe.labels).backward()
    means = []
    for name, x in seen_by(model, probe).items():
        tree, own = slow.get_submodule(name), said["modules"][name]
        leaves = naive_leaves(tree, x)
        assert own["inputs"] == len(x)
        visits = [[Counter(each)[leaf] for leaf in range(tree.leaf_count)] for each in leaves]
        assert said["leaf_visits"][name] == visits
        counts = [count for each in visits for count in each]
        assert own["dead_leaves"] == pytest.approx(counts.count(0) / len(counts))
        entropies = [-sum(n / len(x) * math.log(n / len(x)) for n in each if n) for each in visits]
        entropy = sum(entropies) / len(entropies) / math.log(tree.leaf_count)
        assert own["leaf_entropy"] == pytest.approx(entropy)
        pairs = [(a, b) for now, then in zip(leaves, old[name], strict=True) for a, b in zip(now, then, strict=True)]
        agreement = sum(a == b for a, b in pairs) / len(pairs)
        assert 0 < agreement < 1
        assert own["path_agreement"] == pytest.approx(agreement)
        norms = []
        for level in range(tree.depth + 1):
            rows = [row for row in range(len(tree.in_bias)) if (row % tree.nodes + 1).bit_length() - 1 == level]
            parts = [parameter.grad[rows].flatten() for parameter in (tree.in_weight, tree.in_bias, tree.out_weight)]
            norms.append(torch.cat(parts).norm().item())
        assert own["gradient_norm_by_level"] == pytest.approx(norms, rel=1e-5)
        means.append((own["dead_leaves"], entropy, agreement))
    keys = ("dead_leaves", "leaf_entropy", "path_agreement")
    assert [said[key] for key in keys] == pytest.approx([sum(pair) / 2 for pair in zip(*means, strict=True)])
    first, second = (said["modules"][f"block.{name}"]["gradient_norm_by_level"] for name in ("first", "second"))
    expected = [(a + b) / 2 for a, b in zip(first, second, strict=False)] + first[3:]  # the second has three levels
    assert said["gradient_norm_by_level"] == pytest.approx(expected)


def test_measuring_leaves_gradients_modes_weights_and_random_numbers_as_they_were():
    model, probe = model_and_probe()
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    weights, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    diagnostics_of(model, probe).measure(histogram=True)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(parameter.grad, torch.ones_like(parameter)) for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


class Straight(FFF):
    """A tree whose forward takes its weight as it is, so that autocast may remember the weight's cast."""

    def forward(self, x):
        z = F.linear(x, self.in_weight, self.in_bias)
        return torch.matmul(F.gelu(z) * self.path_mask(z), self.out_weight)


def test_gradients_in_bfloat16_are_those_of_a_pass_that_looks_at_no_leaves():
    """Autocast may remember a cast that was made for the leaves, without gradient, and so cut the gradient off."""
    model, probe = model_and_probe()
    model.block.first = Straight(6, 3, 2, 0)
    initialise(model, 0)
    trees = {"block.first": model.block.first}
    said = Diagnostics(model, trees, probe, "bf16", {}).measure(histogram=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(probe.images)
    F.cross_entropy(logits.float(), probe.labels).backward()
    tree = model.block.first
    root = [row for row in range(len(tree.in_bias)) if row % tree.nodes == 0]
    parts = [parameter.grad[root].flatten() for parameter in (tree.in_weight, tree.in_bias, tree.out_weight)]
    assert parts[0].norm() > 0
    assert said["gradient_norm_by_level"][0] == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)


class Mixture(FFF):
    """Trained as a mixture of its two leaves, weighted by a sigmoid gate; evaluated by the gate's hard choice."""

    executions = ("dense", "soft")

    def forward(self, x):
        z = F.linear(x, self.in_weight, self.in_bias)
        right = z[..., :1].sigmoid() if self.execution == "soft" else (z[..., :1] > 0).to(z.dtype)
        return z[..., 1:2] * (1 - right) * self.out_weight[1] + z[..., 2:] * right * self.out_weight[2]


@pytest.mark.parametrize("execution", ["dense", "soft"])
def test_gates_that_learn_from_a_mixture_have_their_gradient_and_afterwards_the_form_that_they_had(execution):
    model, probe = model_and_probe()
    model.block.second = tree = Mixture(6, 1, 1, 0)
    initialise(model, 0)
    tree.execution = execution
    said = Diagnostics(model, {"block.second": tree}, probe, "fp32", {}).measure(histogram=False)
    assert tree.execution == execution
    tree.execution = "soft"
    F.cross_entropy(model(probe.images), probe.labels).backward()
    gate = torch.cat((tree.in_weight.grad[0], tree.in_bias.grad[:1])).norm().item()
    assert gate > 0
    assert said["gradient_norm_by_level"][0] == pytest.approx(gate, rel=1e-5)


def test_compiled_blocks_are_measured_eager_and_stay_compiled(monkeypatch):
    model, probe = model_and_probe()
    expected = diagnostics_of(model, probe).measure(histogram=True)
    compilations, runs = [], []

    def counting(graph, inputs):
        compilations.append(len(inputs))

        def run(*values):
            runs.append(1)
            return graph.forward(*values)

        return run

    compile_here = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module, **options: compile_here(module, backend=counting))
    compile_regions(model)
    with torch.no_grad():
        model.eval()(probe.images)
    assert (len(compilations), len(runs)) == (1, 1)
    assert diagnostics_of(model, probe).measure(histogram=True) == expected
    assert (len(compilations), len(runs)) == (1, 1), "the probe must bypass what was compiled"
    with torch.no_grad():
        model(probe.images)
    assert (len(compilations), len(runs)) == (1, 2), "what was compiled must still be there, and still fit"
    torch._dynamo.reset()


def test_what_is_not_finite_is_none_so_that_any_database_takes_it():
    model, probe = model_and_probe()
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    said = diagnostics_of(model, probe).measure(histogram=True)
    assert said["gradient_norm_by_level"] == [None] * 4
    assert said["leaf_entropy"] is not None
    json.dumps(said, allow_nan=False)


# in a trial


@pytest.fixture
def _data(digits):
    """The session's packed digits."""


def train(flat, folder, *, epochs=None, reported=0, measured=True):
    trial = Trial(resolve(flat, on_gpu=False), folder, device=CPU, threads=1, reported=reported)
    if not measured:
        trial._diagnostics = None
    reports = []
    for report in trial.reports():
        reports.append(report)
        if len(reports) == epochs:
            break
    trial.close()
    return reports


def said_of(reports):
    return [report.row.extra["trees"] for report in reports]


@pytest.mark.usefixtures("_data")
def test_a_trial_that_goes_on_says_of_its_trees_what_an_uninterrupted_one_says(tmp_path):
    whole = said_of(train(SMALL, tmp_path / "whole"))
    parts = train(SMALL, tmp_path / "parts", epochs=1)
    parts += train(SMALL, tmp_path / "parts", epochs=1, reported=1)
    parts += train(SMALL, tmp_path / "parts", reported=2)
    assert said_of(parts) == whole
    assert [said["path_agreement"] is None for said in whole] == [True, False, False]
    assert ["leaf_visits" in said for said in whole] == [False, False, True]
    probe = len(cached_dataset("digits").train) // SHARE
    assert probe < PROBE
    tokens = whole[-1]["modules"]["blocks.0.ffn"]["inputs"]
    assert tokens == 5 * probe
    visits = whole[-1]["leaf_visits"]["blocks.0.ffn"]
    assert [sum(tree) for tree in visits] == [tokens, tokens]


@pytest.mark.usefixtures("_data")
def test_measuring_changes_nothing_in_the_curve_of_a_trial(tmp_path):
    with_them, without = train(SMALL, tmp_path / "with"), train(SMALL, tmp_path / "without", measured=False)
    curves = [
        [(r.row.train_loss, r.row.val_loss, r.row.val_acc, r.test_loss) for r in each] for each in (with_them, without)
    ]
    assert curves[0] == curves[1]


@pytest.mark.usefixtures("_data")
@pytest.mark.parametrize("changes", [{"ffn": "mlp"}, {"ffn": "fff", "ffn.fff.depth": 0}])
def test_a_model_without_a_choice_has_nothing_to_say(tmp_path, changes):
    flat = {key: value for key, value in SMALL.items() if not key.startswith("ffn.")}
    (report,) = train({**flat, **changes}, tmp_path, epochs=1)
    assert report.row.extra == {}


@pytest.mark.usefixtures("_data")
def test_the_means_are_in_tensorboard_epoch_by_epoch(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said = said_of(train(SMALL, tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()

    def scalars(tag):
        return [(event.step, event.value) for event in events.Scalars(tag)]

    for key in ("dead_leaves", "leaf_entropy"):
        expected = [(epoch, pytest.approx(each[key], rel=1e-6)) for epoch, each in enumerate(said, start=1)]
        assert scalars(f"tree/{key}") == expected
    assert [step for step, _ in scalars("tree/path_agreement")] == [2, 3]
    for level in range(3):
        norms = [each["gradient_norm_by_level"][level] for each in said]
        assert [value for _, value in scalars(f"tree/gradient_norm/level_{level}")] == pytest.approx(norms)


@pytest.mark.usefixtures("_data")
def test_a_checkpoint_from_before_a_kind_had_a_field_is_taken_up_with_the_field_s_default(tmp_path):
    whole = train(SMALL, tmp_path / "whole")
    train(SMALL, tmp_path / "old", epochs=2)
    path = tmp_path / "old" / checkpoint.LAST
    content = torch.load(path, weights_only=True)
    content["flat"] = {key: value for key, value in content["flat"].items() if "level_lr" not in key}
    del content["leaves"], content["format"]
    checkpoint.save(path, content)
    (last,) = train(SMALL, tmp_path / "old", reported=2)
    assert last.test_loss == whole[-1].test_loss
