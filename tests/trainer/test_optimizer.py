"""Which optimizer moves which parameter, and Muon against torch's own."""

import copy

import pytest
import torch
from torch import nn

from arch_space.initialise import initialise
from trainer.config import TrialConfig
from trainer.muon import Muon, batches_of, orthogonalise_all
from trainer.optimizer import build_optimizer, set_rate

CPU = torch.device("cpu")
SMALL = {"dim": 16, "depth": 2, "heads": 1, "patch": 16, "dropout": 0.0}


def small_model(config):
    model = config.model.build()
    initialise(model, 0)
    return model


def torch_muon(matrices, lr, weight_decay):
    return torch.optim.Muon(
        matrices, lr=lr, weight_decay=weight_decay, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )


def test_muon_steps_as_torch_does():
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((8, 12), (8, 12), (12, 8), (5, 5))]
    theirs = copy.deepcopy(ours)
    vector = nn.Parameter(torch.zeros(3))
    mine = Muon([(p, 1) for p in ours], [{"params": [vector]}], lr=1e-2, weight_decay=0.1)
    reference = torch_muon(theirs, 1e-2, 0.1)
    for step in range(5):
        set_rate(mine, 1e-2 / (step + 1))
        set_rate(reference, 1e-2 / (step + 1))
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_matrices_stacked_in_rows_move_as_if_each_stood_alone():
    torch.manual_seed(0)
    stacked = nn.Parameter(torch.randn(12, 6))
    alone = [nn.Parameter(part.clone()) for part in stacked.detach().chunk(3)]
    vector = nn.Parameter(torch.zeros(3))
    one = Muon([(stacked, 3)], [{"params": [vector]}], lr=1e-2, weight_decay=0.1)
    other = torch_muon(alone, 1e-2, 0.1)
    stacked.grad = torch.randn_like(stacked)
    for parameter, grad in zip(alone, stacked.grad.chunk(3), strict=True):
        parameter.grad = grad.clone()
    one.step()
    other.step()
    torch.testing.assert_close(stacked, torch.cat(alone), rtol=1e-5, atol=1e-6)


def test_matrices_of_several_shapes_are_orthogonalised_in_one_batch_as_each_alone():
    torch.manual_seed(0)
    stacks = [torch.randn(shape) for shape in ((3, 12, 20), (2, 20, 12), (1, 8, 20), (2, 5, 5))]
    assert batches_of([tuple(stack.shape) for stack in stacks]) == [[0, 1, 2, 3]]
    alone = orthogonalise_all(stacks, together=False)
    for one, other, stack in zip(orthogonalise_all(stacks, together=True), alone, stacks, strict=True):
        assert one.shape == stack.shape
        torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=0.03)  # bfloat16, five products deep


def test_a_batch_holds_what_it_may_carry_along_and_no_more():
    vit_tiny = [(1, 512, 240), (12, 384, 512), (4, 512, 384), (4, 256, 512), (4, 512, 256)]
    assert batches_of(vit_tiny) == [[1, 2, 3, 4, 0]]
    wide = [(12, 384, 512), (4, 4096, 512)]
    assert batches_of(wide) == [[1], [0]]  # to fill the first up would cost more than a batch of its own
    assert batches_of([(1, 300, 300), (1, 200, 500)]) == [[0], [1]]  # neither fits into the other


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_the_state_of_an_optimizer_comes_back_bit_for_bit(name):
    config = TrialConfig.from_flat({**SMALL, "optimizer": name})
    images, model = torch.randn(4, 3, 32, 32), small_model(config)
    optimizer = build_optimizer(model, config, CPU)

    def step(of, by):
        of.zero_grad()
        of(images).square().mean().backward()
        by.step()

    for _ in range(2):
        step(model, optimizer)
    second = copy.deepcopy(model)
    again = build_optimizer(second, config, CPU)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    set_rate(optimizer, 3e-3)
    set_rate(again, 3e-3)
    step(model, optimizer)
    step(second, again)
    for (key, one), other in zip(model.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), key


def test_muon_takes_the_matrices_alone():
    config = TrialConfig.from_flat({**SMALL, "optimizer": "muon"})
    model = small_model(config)
    optimizer = build_optimizer(model, config, CPU)
    by_adamw = {id(p) for group in optimizer.adamw.param_groups for p in group["params"]}
    by_muon = {id(p) for group in optimizer.param_groups for p in group["params"]} - by_adamw
    named = dict(model.named_parameters())
    assert len(by_adamw) + len(by_muon) == len(named)
    for name, parameter in named.items():
        if id(parameter) in by_muon:
            assert parameter.ndim == 2, name
    assert id(named["head.weight"]) in by_adamw
    assert sum("query_key_value.weight" in name and id(p) in by_muon for name, p in named.items()) == 2
    assert all(
        group["weight_decay"] == 0 for group in optimizer.adamw.param_groups for p in group["params"] if p.ndim < 2
    )


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_torchs_optimizers_without_the_compilers_wrappers_are_torchs_to_the_bit(name):
    config = TrialConfig.from_flat({**SMALL, "optimizer": name})
    models = [small_model(config) for _ in range(2)]
    ours = build_optimizer(models[0], config, CPU)
    assert isinstance(ours, {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name])
    groups = [{**group, "params": []} for group in ours.param_groups]
    theirs_of = dict(zip(models[0].parameters(), models[1].parameters(), strict=True))
    for group, own in zip(groups, ours.param_groups, strict=True):
        group["params"] = [theirs_of[p] for p in own["params"]]
    theirs = type(ours).__bases__[-1](groups, lr=config.lr)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    for step in range(4):
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            set_rate(optimizer, 1e-2 / (step + 1))
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            assert all(p.grad is None for p in model.parameters())
        if step == 1:
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
    states = [
        torch.cat([v.flatten() for s in o.state_dict()["state"].values() for v in s.values()]) for o in (ours, theirs)
    ]
    assert torch.equal(*states)
