"""The dense feed-forward with each of its activations against a naive loop in float64."""

import math

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from arch_space.ffn.mlp import MLP, MLPConfig
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.show import app
from arch_space.space import RandomScope

DIM, HIDDEN = 6, 5
ACTIVATIONS = ["gelu", "relu", "silu", "squared_relu"]


def started(activation: str, dropout: float = 0.0) -> MLP:
    module = MLPConfig(hidden=HIDDEN, activation=activation).build(DIM, dropout)
    assert isinstance(module, MLP)
    initialise(module, 0)
    return module.double()


def inputs(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_hand(activation: str, z: Tensor) -> Tensor:
    """The activation of one number."""
    if activation == "gelu":
        return 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))
    if activation == "silu":
        return z / (1 + torch.exp(-z))
    if z <= 0:
        return 0 * z
    return z if activation == "relu" else z * z


def naive(module: MLP, activation: str, x: Tensor) -> Tensor:
    """One sample (D) -> (D), neuron by neuron."""
    y = module.contract.bias
    for i in range(HIDDEN):
        z = (module.expand.weight[i] * x).sum() + module.expand.bias[i]
        y = y + by_hand(activation, z) * module.contract.weight[:, i]
    return y


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_and_its_gradients_equal_the_naive_loop(activation: str) -> None:
    module, x, upstream = started(activation), inputs(3, 4, DIM).requires_grad_(), inputs(3, 4, DIM).flip(0)
    expected = torch.stack([torch.stack([naive(module, activation, token) for token in image]) for image in x])
    torch.testing.assert_close(module(x), expected)
    got, wanted = (torch.autograd.grad((y * upstream).sum(), [x, *module.parameters()]) for y in (module(x), expected))
    torch.testing.assert_close(got, wanted)


def test_dropout_follows_every_activation_and_the_output() -> None:
    for activation in ACTIVATIONS:
        module = started(activation, dropout=0.25).train()
        calls: list[int] = []
        module.dropout.register_forward_hook(lambda part, given, output, seen=calls: seen.append(output.shape[-1]))
        module(inputs(2, DIM))
        assert calls == [HIDDEN, DIM]
        assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [0.25]


def test_the_activation_changes_neither_count_nor_start() -> None:
    gelu, relu = started("gelu"), started("relu")
    assert gelu.state_dict().keys() == relu.state_dict().keys()
    assert all(torch.equal(one, other) for one, other in zip(gelu.parameters(), relu.parameters(), strict=True))
    assert MLPConfig(activation="relu").parameters(512) == MLPConfig().parameters(512) == 262_912


def test_a_row_that_was_written_before_there_was_a_choice_reads_as_gelu() -> None:
    assert ModelConfig.from_flat({"ffn": "mlp", "ffn.mlp.hidden": 64}).ffn == MLPConfig(hidden=64, activation="gelu")


def test_a_suggestion_draws_the_width_alone_so_that_older_experiments_sample_what_they_did() -> None:
    scope = RandomScope(3)
    config = MLPConfig.suggest(scope)
    assert scope.drawn == {"hidden": config.hidden}
    assert config.activation == "gelu"


def test_a_match_may_vary_fields_that_are_there() -> None:
    assert MLPConfig.widths == ("hidden",)
    assert set(MLPConfig.widths) <= set(MLPConfig.__dataclass_fields__)


def test_an_unknown_activation_is_refused_in_one_sentence() -> None:
    done = CliRunner().invoke(app, ["ffn.mlp.activation=tanh"])
    assert done.exit_code == 2
    assert done.stderr == (
        "Error: \"ffn.mlp.activation\" must be one of gelu, relu, silu, squared_relu, but got 'tanh'.\n"
    )
    with pytest.raises(ValueError, match='"activation" must be one of gelu, relu, silu, squared_relu'):
        MLPConfig(activation="tanh")  # type: ignore[arg-type]
