"""A seed fixes each module's start by its name."""

import pytest
import torch
from torch import Tensor, nn

from arch_space.initialise import initialise, module_seed
from arch_space.model import ModelConfig

SMALL = {"dim": 16, "depth": 2, "heads": 1, "patch": 8}


def start(seed: int = 0, **changes: object) -> dict[str, Tensor]:
    model = ModelConfig.from_flat({**SMALL, **changes}).build()
    initialise(model, seed)
    return dict(model.named_parameters())


def test_one_seed_gives_one_start_whatever_was_drawn_before() -> None:
    first = start()
    torch.rand(17)
    again = start()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_two_seeds_differ_in_every_part_that_is_random() -> None:
    first, other = start(0), start(1)
    constant = {name for name in first if "norm" in name or "temperature" in name}
    assert {name for name in first if torch.equal(first[name], other[name])} == constant


@pytest.mark.parametrize(
    "changes", [{"layout": "pair"}, {"ffn": "fff"}, {"depth": 3}, {"ffn.mlp.hidden": 8}, {"dropout": 0.5}]
)
def test_parts_that_two_variants_share_start_equal(changes: dict[str, object]) -> None:
    baseline, variant = start(), start(**changes)
    shared = [name for name in baseline if name in variant and baseline[name].shape == variant[name].shape]
    assert {"tokens.positions", "head.weight", "blocks.1.attention.query_key_value.weight"} <= set(shared)
    different = [name for name in shared if not torch.equal(baseline[name], variant[name])]
    # A contracting Linear's bias has the same shape at any width, but its bound depends on that width.
    allowed = {f"blocks.{block}.ffn.contract.bias" for block in range(2)} if "ffn.mlp.hidden" in changes else set()
    assert set(different) == allowed


def test_equal_parts_at_different_places_start_differently() -> None:
    parameters = start(layout="pair")
    places = ["blocks.0.ffn.expand.weight", "blocks.1.ffn.expand.weight", "blocks.0.ffn_before.expand.weight"]
    assert not any(torch.equal(parameters[a], parameters[b]) for i, a in enumerate(places) for b in places[i + 1 :])


def test_the_global_random_state_is_as_before() -> None:
    model = ModelConfig.from_flat(SMALL).build()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    initialise(model, 0)
    assert torch.equal(torch.rand(4), expected)


def test_linears_start_as_torch_s_default() -> None:
    weight = start(dim=64)["blocks.0.ffn.expand.weight"]
    assert 0.98 / 8 < weight.abs().max().item() <= 1 / 8  # uniform within +-fan_in^-1/2


def test_a_module_that_cannot_reset_itself_is_refused_by_name() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    model = nn.Sequential(nn.Linear(2, 2), Stubborn())
    with pytest.raises(ValueError, match=r"must have reset_parameters\(\), but 1 \(Stubborn\) has none"):
        initialise(model, 0)
    with pytest.raises(ValueError, match=r"but the model \(Stubborn\) has none"):
        initialise(Stubborn(), 0)


def test_a_model_that_is_not_on_the_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be on the CPU to be initialised, but the model \(Linear\) is on meta"):
        initialise(nn.Linear(2, 2, device="meta"), 0)


def test_seeds_of_modules_do_not_depend_on_the_process() -> None:
    assert module_seed(0, "blocks.0.ffn") == module_seed(0, "blocks.0.ffn")
    assert module_seed(0, "head") == 6881041939374128778
    assert 0 <= module_seed(10**12, "x" * 1000) < 2**63
