"""Gated linear units against a naive loop in float64 (arXiv 2002.05202)."""

import math

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from arch_space.cost import cost
from arch_space.ffn.glu import GLU, GLUConfig
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.show import app
from trainer.config import TrialConfig
from trainer.optimizer import build_optimizer

DIM, HIDDEN = 6, 5
both_activations = pytest.mark.parametrize("activation", ["silu", "gelu"])


def started(activation: str, dropout: float = 0.0) -> GLU:
    module = GLUConfig(hidden=HIDDEN, activation=activation).build(DIM, dropout)
    assert isinstance(module, GLU)
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive(module: GLU, activation: str, x: Tensor) -> Tensor:
    """One sample (D) -> (D), neuron by neuron: W is the upper half of the packed matrix, V the lower."""
    y = torch.zeros_like(x)
    for i in range(HIDDEN):
        gate = (module.expand.weight[i] * x).sum()
        value = (module.expand.weight[HIDDEN + i] * x).sum()
        if activation == "silu":
            opened = gate / (1 + torch.exp(-gate))
        else:
            opened = 0.5 * gate * (1 + torch.erf(gate / math.sqrt(2)))
        y = y + opened * value * module.contract.weight[:, i]
    return y


@both_activations
def test_it_and_its_gradients_equal_the_naive_loop(activation: str) -> None:
    module, x, upstream = started(activation), inputs(3, 4, DIM).requires_grad_(), inputs(3, 4, DIM).flip(0)
    expected = torch.stack([torch.stack([naive(module, activation, token) for token in image]) for image in x])
    torch.testing.assert_close(module(x), expected)
    got, wanted = (torch.autograd.grad((y * upstream).sum(), [x, *module.parameters()]) for y in (module(x), expected))
    torch.testing.assert_close(got, wanted)


def test_dropout_sits_where_a_dense_layer_has_it_on_the_product_and_on_the_output() -> None:
    module = started("silu", dropout=0.25).train()
    calls: list[int] = []
    module.dropout.register_forward_hook(lambda part, given, output: calls.append(output.shape[-1]))
    module(inputs(2, DIM))
    assert calls == [HIDDEN, DIM]
    assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.25]


def test_it_has_three_matrices_and_no_bias() -> None:
    config = GLUConfig(hidden=256)
    assert (config.parameters(512), config.neurons_used(512)) == (3 * 512 * 256, 256)
    assert config.macs(512, 65) == config.macs_conditional(512, 65) == 65 * 3 * 512 * 256
    # outside the feed-forwards the baseline has 3,319,790
    priced = cost(ModelConfig.from_flat({"ffn": "glu", "layout": "pair", "ffn.glu.hidden": 128}))
    assert (priced.parameters, priced.neurons_used) == (3_319_790 + 4 * (1_024 + 2 * 3 * 512 * 128), 256)
    assert not [name for name, _ in started("gelu").named_parameters() if "bias" in name]


def test_muon_takes_gate_and_value_as_two_matrices() -> None:
    config = TrialConfig.from_flat({"ffn": "glu", "optimizer": "muon", "dim": 12, "depth": 1, "heads": 1})
    model = config.model.build()
    optimizer = build_optimizer(model, config, torch.device("cpu"))
    packed = model.blocks[0].ffn.expand.weight
    assert [group["pieces"] for group in optimizer.param_groups if any(p is packed for p in group["params"])] == [2]


def test_a_match_may_vary_fields_that_are_there() -> None:
    assert GLUConfig.widths == ("hidden",)
    assert set(GLUConfig.widths) <= set(GLUConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("hidden", "0", "must be at least 1, but got 0."),
        ("hidden", "1048577", "must be at most 1048576, but got 1048577."),
        ("activation", "tanh", "must be one of silu, gelu, but got 'tanh'."),
    ],
)
def test_what_makes_no_layer_is_refused_in_one_sentence(field: str, value: str, rule: str) -> None:
    done = CliRunner().invoke(app, ["ffn=glu", f"ffn.glu.{field}={value}"])
    assert done.exit_code == 2
    assert done.stderr == f'Error: "ffn.glu.{field}" {rule}\n'


def test_an_activation_that_is_not_there_is_refused_in_code_too() -> None:
    with pytest.raises(ValueError, match='"activation" must be one of silu, gelu'):
        GLUConfig(activation="relu")  # type: ignore[arg-type]
