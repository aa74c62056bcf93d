"""CSC-I against naive loops over units and links, and against dense masked matrices, in float64."""

import math
import re

import pytest
import torch
from torch import Tensor

from arch_space.cost import cost
from arch_space.ffn.csc import CSC, CSCConfig, CyclicChain, Mix, layers_for
from arch_space.ffn.fff import FFF, FFFConfig
from arch_space.ffn.mlp import MLP, MLPConfig
from arch_space.initialise import initialise
from arch_space.model import ModelConfig

# n_in, n_out, fan-in: powers of the fan-in, one dense layer, repeating and folding with and without remainder, links
# that coincide because the last layer wraps around, a fan-in of all units but one
SIZES = [(8, 8, 2), (9, 9, 3), (6, 6, 6), (4, 16, 4), (16, 4, 4), (5, 12, 2), (12, 5, 3), (7, 7, 4), (3, 8, 7)]
every_size = pytest.mark.parametrize(("n_in", "n_out", "fanin"), SIZES)
FORMS = ["forward", "layer_by_layer"]
every_form = pytest.mark.parametrize("form", FORMS)


def started(n_in: int, n_out: int, fanin: int) -> CyclicChain:
    """With a bias that is not zero, so that it shows."""
    module = CyclicChain(n_in, n_out, fanin)
    initialise(module, 0)
    with torch.no_grad():
        module.bias.copy_(torch.arange(1.0, n_out + 1))
    return module.double()


def inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def naive(module: CyclicChain, x: Tensor) -> tuple[Tensor, int]:
    """One sample (n_in) -> (n_out), link by link, with gradients; and the multiply-adds that it took."""
    count, units, fanin = module.weight.shape
    done = 0
    u = [x[i % module.n_in] for i in range(units)]
    for level in range(count):
        sums = []
        for i in range(units):
            total = torch.zeros((), dtype=x.dtype)
            for j in range(fanin):
                total = total + module.weight[level, i, j] * u[(i + j * fanin**level) % units]
                done += 1
            sums.append(total)
        u = sums
    y = list(module.bias)
    for i in range(units):
        y[i % module.n_out] = y[i % module.n_out] + u[i]
    return torch.stack(y), done


def masked_dense(module: CyclicChain) -> Tensor:
    """The chain's matrix (n_out, n_in) as a product of dense matrices, almost all of whose entries are zero."""
    count, units, fanin = module.weight.shape
    repeat = torch.zeros(units, module.n_in, dtype=torch.float64)
    fold = torch.zeros(module.n_out, units, dtype=torch.float64)
    for i in range(units):
        repeat[i, i % module.n_in] = 1
        fold[i % module.n_out, i] = 1
    product = repeat
    for level in range(count):
        layer = torch.zeros(units, units, dtype=torch.float64)
        for i in range(units):
            for j in range(fanin):
                layer[i, (i + j * fanin**level) % units] += module.weight[level, i, j].item()
        product = layer @ product
    return fold @ product


@every_size
@every_form
def test_both_forms_equal_the_naive_loop_and_so_do_their_gradients(
    n_in: int, n_out: int, fanin: int, form: str
) -> None:
    module = started(n_in, n_out, fanin)
    x, upstream = inputs(2, 2, n_in).requires_grad_(), inputs(2, 2, n_out).flip(0)
    names = ["x", *(name for name, _ in module.named_parameters())]

    def gradients(output: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((output * upstream).sum(), [x, *module.parameters()])

    got = getattr(module, form)(x)
    expected = torch.stack([torch.stack([naive(module, token)[0] for token in image]) for image in x])
    torch.testing.assert_close(got, expected)
    for name, one, other in zip(names, gradients(got), gradients(expected), strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


@every_size
def test_both_forms_equal_a_product_of_dense_masked_matrices(n_in: int, n_out: int, fanin: int) -> None:
    module, x = started(n_in, n_out, fanin), inputs(5, n_in)
    dense = masked_dense(module)
    torch.testing.assert_close(module.matrix(), dense)
    for form in FORMS:
        torch.testing.assert_close(getattr(module, form)(x), x @ dense.T + module.bias)


@every_size
def test_every_output_reads_every_input(n_in: int, n_out: int, fanin: int) -> None:
    assert (started(n_in, n_out, fanin).matrix() != 0).all()


def test_where_the_units_are_a_power_of_the_fan_in_one_way_leads_from_input_to_output() -> None:
    module = started(27, 27, 3)
    weight, matrix = module.weight, module.matrix()
    # unit 20 reads input 4 = (20 + 11) mod 27, and 11 is 2 + 0 * 3 + 1 * 9: last layer j = 1, then 0, then 2
    way = weight[2, 20, 1] * weight[1, (20 + 9) % 27, 0] * weight[0, (20 + 9) % 27, 2]
    torch.testing.assert_close(matrix[20, 4], way)


def test_a_fan_in_of_all_units_is_one_dense_layer() -> None:
    module = started(6, 6, 6)
    assert module.weight.shape == (1, 6, 6)
    for i in range(6):
        for j in range(6):
            assert module.matrix()[i, (i + j) % 6] == module.weight[0, i, j]


@pytest.mark.parametrize(
    ("units", "fanin", "expected"),
    [(1, 2, 1), (2, 2, 1), (3, 2, 2), (512, 2, 9), (512, 8, 3), (513, 8, 4), (512, 23, 2), (512, 512, 1), (243, 3, 5)],
)
def test_the_number_of_layers_is_the_logarithm_rounded_up_without_floating_point(
    units: int, fanin: int, expected: int
) -> None:
    assert layers_for(units, fanin) == expected


@pytest.mark.parametrize(("n_in", "n_out", "fanin"), [(512, 512, 8), (512, 256, 8), (256, 512, 8), (512, 128, 2)])
def test_the_start_keeps_the_variance_through_all_layers(n_in: int, n_out: int, fanin: int) -> None:
    module = CyclicChain(n_in, n_out, fanin)
    initialise(module, 0)
    assert (module.bias == 0).all()
    # over independent inputs of variance 1, an output's variance is the sum of its squared weights
    assert module.matrix().square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.1)
    bound = math.sqrt(3 / fanin)
    for layer in module.weight[:-1]:
        assert 0.98 * bound < layer.abs().max().item() <= bound


@pytest.mark.parametrize("execution", CSC.executions)
def test_the_feed_forward_is_two_chains_with_gelu_between(execution: str) -> None:
    module = CSC(6, 10, 3, 0.5).double().eval()
    module.execution = execution
    x = inputs(4, 6)
    hidden = torch.stack([naive(module.expand, token)[0] for token in x])
    activated = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = torch.stack([naive(module.contract, token)[0] for token in activated])
    torch.testing.assert_close(module(x), expected)


def test_in_evaluation_forward_follows_the_execution_form_and_in_training_it_does_not() -> None:
    module, x = CSC(6, 10, 3, 0.0), inputs(4, 6).float()
    assert module.execution == CSC.executions[0]
    module.execution = "conditional"
    module.expand.forward = module.contract.forward = _refuse  # type: ignore[method-assign]
    module.eval()
    module(x)
    module.train()
    with pytest.raises(AssertionError, match="the training form"):
        module(x)


def _refuse(x: Tensor) -> Tensor:
    raise AssertionError("the training form")


@pytest.mark.parametrize("execution", CSC.executions)
def test_it_compiles_in_one_graph_without_reading_its_data(execution: str) -> None:
    module, x = CSC(6, 10, 3, 0.0).eval(), inputs(4, 6).float()
    module.execution = execution
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.parametrize("form", ["forward", "forward_conditional"])
def test_it_runs_under_bfloat16_autocast_and_stays_near_float32(form: str) -> None:
    module, x = CSC(32, 24, 4, 0.0), inputs(16, 32).float()
    initialise(module, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = getattr(module, form)(x)
    assert ((rounded.float() - module(x)).norm(dim=-1) / module(x).norm(dim=-1)).max() < 0.03


def test_dropout_follows_gelu_and_the_second_chain_as_in_a_dense_feed_forward() -> None:
    module = CSC(64, 64, 4, 0.5)
    initialise(module, 0)
    x = inputs(200, 64).float()
    share = (module(x) == 0).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.05)
    with torch.no_grad():
        module.contract.weight.zero_()
        module.contract.bias.fill_(1.0)
    assert module(x).unique().tolist() == [0.0, 2.0]


@pytest.mark.parametrize("partner", ["mlp", "fff"])
def test_mix_adds_the_partner_s_output_and_counts_its_costs(partner: str) -> None:
    config, alone = CSCConfig(mode="mix", partner=partner, hidden=10, fanin=3), CSCConfig(hidden=10, fanin=3)
    other = {"mlp": MLPConfig(), "fff": FFFConfig()}[partner]
    module = config.build(6, 0.0).double()
    initialise(module, 0)
    assert isinstance(module, Mix)
    assert isinstance(module.partner, {"mlp": MLP, "fff": FFF}[partner])
    x = inputs(4, 6)
    torch.testing.assert_close(module(x), module.chain(x) + module.partner(x))
    torch.testing.assert_close(module.forward_conditional(x), module(x))
    assert config.parameters(6) == alone.parameters(6) + other.parameters(6)
    assert config.macs(6, 5) == alone.macs(6, 5) + other.macs(6, 5)
    assert config.macs_conditional(6, 5) == alone.macs_conditional(6, 5) + other.macs_conditional(6, 5)


@every_size
def test_the_sparse_multiply_adds_are_those_that_the_naive_loop_counts(n_in: int, n_out: int, fanin: int) -> None:
    config = CSCConfig(hidden=n_out, fanin=fanin)
    _, expand = naive(started(n_in, n_out, fanin), inputs(n_in))
    _, contract = naive(started(n_out, n_in, fanin), inputs(n_out))
    assert config.macs_conditional(n_in, 65) == 65 * (expand + contract)


def test_the_default_model_counts_what_the_formula_says() -> None:
    priced = cost(ModelConfig(ffn=CSCConfig()))
    # outside the feed-forwards as in the dense baseline; in each of 4, two chains of 3 x 512 x 8 weights, and biases
    outside = 4_371_438 - 4 * (2 * 512 * 256 + 256 + 512)
    assert priced.parameters == outside + 4 * (2 * 3 * 512 * 8 + 256 + 512) == 3_421_166
    assert priced.neurons_used is None
    assert priced.macs == cost(ModelConfig()).macs
    assert priced.macs - priced.macs_conditional == 4 * 65 * 2 * (512 * 256 - 3 * 512 * 8)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"fanin": 1}, '"fanin" must be at least 2, but got 1.'),
        ({"hidden": 0}, '"hidden" must be at least 1, but got 0.'),
        ({"mode": "sum"}, "\"mode\" must be one of chain, mix, but got 'sum'."),
        ({"mode": "mix", "partner": ""}, "but got ''."),
        ({"mode": "mix", "partner": "mpl"}, "but got 'mpl'."),
        ({"mode": "mix", "partner": "csc"}, "but got 'csc'."),
        ({"partner": "mpl"}, "but got 'mpl'."),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        CSCConfig(**wrong)  # type: ignore[arg-type]
    if "partner" in wrong:
        assert str(error.value).startswith('"partner" must be one of ')
        assert "csc" not in str(error.value).partition("but got")[0]


def test_a_fan_in_above_the_number_of_units_is_refused_at_build_and_in_the_price() -> None:
    assert CSCConfig(fanin=16, hidden=8).build(16, 0.0)
    with pytest.raises(ValueError, match=r'"ffn.csc.fanin" must be at most .* \(fanin=17, dim=16, hidden=8\)'):
        CSCConfig(fanin=17, hidden=8).build(16, 0.0)
    with pytest.raises(ValueError, match="must be at most max"):
        cost(ModelConfig(dim=16, ffn=CSCConfig(fanin=17, hidden=8)))


def test_what_the_partner_refuses_a_mix_refuses() -> None:
    assert CSCConfig(partner="flat").build(1, 0.0)
    with pytest.raises(ValueError, match='"dim" must be at least 2 for the feed-forward kind flat'):
        CSCConfig(mode="mix", partner="flat").build(1, 0.0)


@pytest.mark.parametrize("wrong", [{"fanin": 1024, "hidden": 1025}, {"hidden": 1_048_576}])
def test_a_chain_that_is_too_large_to_be_multiplied_out_is_refused_before_memory_is_taken(
    wrong: dict[str, int],
) -> None:
    with pytest.raises(ValueError, match=r"units x fanin\^layers is at most 268,435,456"):
        CSCConfig(**wrong).build(512, 0.0)
