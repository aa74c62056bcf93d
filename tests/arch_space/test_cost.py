"""Costs: to the unit as published, and as torch counts them."""

from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from arch_space.cost import cost, price
from arch_space.ffn.fff import FFFConfig
from arch_space.ffn.mlp import MLPConfig
from arch_space.model import ModelConfig
from arch_space.registry import FFN
from arch_space.space import RandomScope


@pytest.mark.parametrize(
    ("flat", "parameters", "neurons_used"),
    [
        ({}, 4_371_438, 256),
        ({"layout": "pair"}, 5_427_182, 512),
        ({"layout": "pair", "ffn.mlp.hidden": 128}, 4_377_582, 256),
        ({"ffn": "fff"}, 4_365_290, 8),
        ({"ffn": "fff", "layout": "pair", "ffn.fff.dense_rows": 8}, 5_480_422, 32),
        ({"ffn": "fff", "ffn.fff.depth": 4, "ffn.fff.trees": 6, "ffn.fff.dense_rows": 8}, 4_115_158, 38),
    ],
)
def test_the_published_models_have_the_published_counts(
    flat: dict[str, object], parameters: int, neurons_used: int
) -> None:
    priced = cost(ModelConfig.from_flat(flat))
    assert (priced.parameters, priced.neurons_used) == (parameters, neurons_used)


configurations = st.builds(
    ModelConfig,
    dim=st.integers(1, 40),
    depth=st.integers(1, 3),
    heads=st.integers(1, 4),
    patch=st.sampled_from([2, 4, 8]),
    image_size=st.sampled_from([8, 16, 24]),
    layout=st.sampled_from(["single", "pair"]),
    dropout=st.sampled_from([0.0, 0.1]),
    classes=st.integers(2, 12),
    ffn=st.builds(MLPConfig, hidden=st.integers(1, 40))
    | st.builds(FFFConfig, depth=st.integers(0, 4), trees=st.integers(1, 3), dense_rows=st.integers(0, 9)),
)


def closed_formula(config: ModelConfig) -> int:
    """Parameters written down from science.md, term by term."""
    dim, width, inner = config.dim, 15 * config.patch**2, 64 * config.heads
    tokens = (config.image_size // config.patch) ** 2 + 1
    stem = 2 * width + (width * dim + dim) + dim + tokens * dim
    attention = 2 * dim + 3 * inner * dim + 1 + (inner * dim + dim)
    if isinstance(config.ffn, FFFConfig):
        nodes = config.ffn.trees * (2 ** (config.ffn.depth + 1) - 1)
        module = nodes * dim + nodes + nodes * dim + 2 * config.ffn.dense_rows * dim
    else:
        assert isinstance(config.ffn, MLPConfig)
        module = dim * config.ffn.hidden + config.ffn.hidden + config.ffn.hidden * dim + dim
    feed_forward = (2 if config.layout == "pair" else 1) * (2 * dim + module)
    head = 2 * dim + dim * config.classes + config.classes
    return stem + config.depth * (attention + feed_forward) + head


@settings(max_examples=60)
@given(configurations)
def test_the_parameters_of_any_configuration_follow_the_closed_formula(config: ModelConfig) -> None:
    assert cost(config).parameters == closed_formula(config)


@settings(max_examples=5)
@given(configurations)
def test_the_priced_model_is_the_built_one(config: ModelConfig) -> None:
    priced = cost(config)
    model = config.build()
    assert priced.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert priced.shapes == {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    assert priced.macs_conditional <= priced.macs


@settings(max_examples=15)
@given(configurations)
def test_the_multiply_adds_of_any_configuration_are_those_that_torch_counts(config: ModelConfig) -> None:
    assert 2 * cost(config).macs == counted_flops(config)


def counted_flops(config: ModelConfig) -> int:
    """FLOPs of the matrix products of one image's forward pass, by torch's counter on the meta device.

    Attention in its plain form: the counter knows no fused kernel of the CPU.
    """
    with torch.device("meta"):
        model = config.build().eval()
        images = torch.empty(1, 3, config.image_size, config.image_size)
    model.blocks[-1].first_token_only = False  # costs are those of every token in every block
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(images)
    return int(counter.get_total_flops())


def test_the_baseline_takes_293_million_multiply_adds() -> None:
    config = ModelConfig()
    assert round(cost(config).macs / 1e6) == 293
    assert 2 * cost(config).macs == counted_flops(config)
    assert cost(config).macs_conditional == cost(config).macs


def test_the_conditional_form_saves_exactly_the_nodes_that_are_not_visited() -> None:
    priced = cost(ModelConfig(ffn=FFFConfig(depth=7, trees=2, dense_rows=8), layout="pair"))
    assert priced.macs - priced.macs_conditional == 4 * 2 * 65 * 2 * 512 * 2 * (255 - 8)


def test_a_model_too_large_for_memory_is_priced_all_the_same() -> None:
    priced = cost(ModelConfig(dim=65_536, heads=1_024, ffn=FFFConfig(depth=20, trees=1_024)))
    assert priced.parameters > 10**14


@pytest.mark.parametrize("layout", ["single", "pair"])
@pytest.mark.parametrize("kind", FFN.kinds())
def test_the_price_by_formulae_is_the_cost(kind: str, layout: str) -> None:
    for seed in range(5):
        config = ModelConfig.from_flat({"dim": 32 + seed, "depth": 1 + seed, "heads": 2, "layout": layout, "ffn": kind})
        config = replace(config, ffn=FFN.config(kind).suggest(RandomScope(seed)))
        priced, counted = price(config), cost(config)
        assert asdict(priced) == {name: value for name, value in asdict(counted).items() if name != "shapes"}


def test_a_kind_whose_formula_is_wrong_is_refused_with_both_numbers(miscounted: str) -> None:
    with pytest.raises(ValueError, match="kind 'miscounted' must be what its module has, but got 3 a module"):
        price(ModelConfig(dim=8, depth=2, heads=1, ffn=FFN.config(miscounted)(hidden=4)))
