"""What every registered feed-forward kind must hold: a new file is tested before its author writes a test.

`python -m pytest tests/arch_space -k KIND` runs it for one kind. Sizes are small and odd, so that a mixed-up axis shows.
"""

import dataclasses
import io
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from arch_space.cost import cost
from arch_space.execution import executions_of, set_execution
from arch_space.flat import from_flat, to_flat
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.registry import FFN, FeedForwardConfig
from arch_space.space import RandomScope

BATCH, TOKENS, DIM = 3, 5, 12
SUGGESTIONS = 4

every_kind = pytest.mark.parametrize("kind", FFN.kinds())


def configs(kind: str) -> list[FeedForwardConfig]:
    """The kind's defaults, then some random suggestions."""
    cls = FFN.config(kind)
    return [cls(), *(cls.suggest(RandomScope(seed)) for seed in range(SUGGESTIONS))]


def started(config: FeedForwardConfig, dropout: float = 0.0) -> nn.Module:
    """The module in float64, from seed 0."""
    module = config.build(DIM, dropout)
    initialise(module, 0)
    return module.double()


def tokens() -> Tensor:
    """(B, T, D), the same at each call."""
    return torch.randn(BATCH, TOKENS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@every_kind
def test_the_module_maps_tokens_to_tokens_of_the_same_shape_and_type(kind: str) -> None:
    for config in configs(kind):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            output = started(config).to(dtype)(tokens().to(dtype))
            assert output.shape == (BATCH, TOKENS, DIM), config
            assert output.dtype == dtype, config
            assert output.isfinite().all(), config


@every_kind
def test_a_token_s_output_depends_on_that_token_alone(kind: str) -> None:
    x = tokens()
    for config in configs(kind):
        module = started(config).eval()
        alone = torch.stack([module(x[:1, position : position + 1])[0, 0] for position in range(TOKENS)])
        torch.testing.assert_close(module(x)[0], alone)


@every_kind
def test_a_gradient_reaches_the_input_and_every_parameter_that_is_not_declared_idle(kind: str) -> None:
    for config in configs(kind):
        module = started(config)
        x = tokens().requires_grad_()
        (module(x) ** 2).sum().backward()
        assert x.grad is not None, config
        assert x.grad.abs().sum() > 0, config
        idle = {
            f"{prefix}.{name}".lstrip(".")
            for prefix, part in module.named_modules()
            for name in getattr(part, "idle_parameters", ())
        }
        for name, parameter in module.named_parameters():
            if name not in idle:
                assert parameter.grad is not None, f"no gradient reaches {name} of {config}"
                assert parameter.grad.isfinite().all(), f"{name} of {config}"
                assert parameter.grad.abs().sum() > 0, f"the gradient of {name} of {config} is zero"


@every_kind
def test_evaluation_is_repeatable_and_dropout_is_off_in_it(kind: str) -> None:
    for config in configs(kind):
        module = started(config, dropout=0.5).eval()
        torch.testing.assert_close(module(tokens()), module(tokens()), rtol=0, atol=0)


@every_kind
def test_the_conditional_form_where_there_is_one_agrees_with_the_training_form(kind: str) -> None:
    for config in configs(kind):
        module = started(config).eval()
        conditional = getattr(module, "forward_conditional", None)
        if conditional is None:
            assert config.macs_conditional(DIM, TOKENS) == config.macs(DIM, TOKENS), config
        else:
            torch.testing.assert_close(conditional(tokens()), module(tokens()))


@every_kind
def test_an_execution_form_holds_in_evaluation_alone_and_the_first_is_the_default(kind: str) -> None:
    for config in configs(kind):
        module = started(config)
        forms = executions_of(module)
        if not forms:
            continue
        trained = module(tokens())
        default = module.eval()(tokens())
        for form in forms:
            set_execution(module, form)
            torch.testing.assert_close(module.train()(tokens()), trained, rtol=0, atol=0)
            output = module.eval()(tokens())
            if form in ("dense", "conditional"):
                torch.testing.assert_close(output, default)
            assert form != "conditional" or torch.equal(output, module.forward_conditional(tokens())), config
        parts = [part for part in started(config).modules() if getattr(part, "executions", ())]
        assert parts, config
        assert all(part.execution == part.executions[0] for part in parts), config


@every_kind
def test_a_tree_tells_its_leaves_and_the_levels_of_its_rows(kind: str) -> None:
    for config in configs(kind):
        module = started(config)
        seen: list[tuple[nn.Module, Tensor]] = []
        for part in module.modules():
            if all(hasattr(part, name) for name in ("trees", "leaf_count", "leaves", "levels")):
                part.register_forward_pre_hook(lambda tree, args, seen=seen: seen.append((tree, args[0])))
        module(tokens())
        for tree, x in seen:
            leaves = tree.leaves(x)
            assert leaves.dtype == torch.int64, config
            assert leaves.shape == (*x.shape[:-1], tree.trees), config
            assert 0 <= leaves.min() <= leaves.max() < tree.leaf_count, config
            own = dict(tree.named_parameters(recurse=False))
            for name, rows in tree.levels().items():
                assert rows.dtype == torch.int64, f"{name} of {config}"
                assert rows.shape == own[name].shape[:1], f"{name} of {config}"
                assert rows.min() >= 0, f"{name} of {config}"


@every_kind
def test_one_seed_gives_one_start_and_another_seed_another(kind: str) -> None:
    for config in configs(kind):
        first, again, other = (config.build(DIM, 0.0) for _ in range(3))
        for module, seed in ((first, 7), (again, 7), (other, 8)):
            initialise(module, seed)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)), config
        assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)), config


@every_kind
def test_a_start_leaves_nothing_uninitialised(kind: str) -> None:
    for config in configs(kind):
        module = config.build(DIM, 0.0)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(float("nan"))
        initialise(module, 0)
        for name, parameter in module.named_parameters():
            assert parameter.isfinite().all(), f"{name} of {config} is in no reset_parameters()"


@every_kind
def test_no_parameter_is_without_dimension_because_deepspeed_refuses_those(kind: str) -> None:
    for config in configs(kind):
        assert all(parameter.dim() > 0 for parameter in config.build(DIM, 0.0).parameters()), config


@every_kind
def test_what_a_module_says_about_its_parameters_names_parameters_of_its_own(kind: str) -> None:
    for config in configs(kind):
        for part in config.build(DIM, 0.0).modules():
            own = {name for name, _ in part.named_parameters()}
            for attribute in ("idle_parameters", "no_weight_decay", "no_muon", "stacked_weights"):
                assert set(getattr(part, attribute, ())) <= own, f"{attribute} of {type(part).__name__}"


@every_kind
def test_the_config_survives_the_flat_dictionary_also_as_text(kind: str) -> None:
    for config in configs(kind):
        flat = {f"ffn.{kind}.{field}": value for field, value in to_flat(config).items()}
        assert from_flat(type(config), flat, f"ffn.{kind}.") == config
        as_text = {key: "none" if value is None else str(value) for key, value in flat.items()}
        assert from_flat(type(config), as_text, f"ffn.{kind}.") == config


@every_kind
def test_suggestions_stay_within_the_config_s_own_keys_and_repeat_for_a_seed(kind: str) -> None:
    cls = FFN.config(kind)
    for seed in range(SUGGESTIONS):
        scope = RandomScope(seed)
        config = cls.suggest(scope)
        assert set(scope.drawn) <= set(to_flat(config))
        assert cls.suggest(RandomScope(seed)) == config


@every_kind
def test_a_saved_module_loads_with_weights_only_and_computes_the_same(kind: str) -> None:
    for config in configs(kind):
        module, loaded = started(config).eval(), config.build(DIM, 0.0).double().eval()
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        torch.testing.assert_close(loaded(tokens()), module(tokens()), rtol=0, atol=0)


@every_kind
def test_the_parameter_formula_counts_what_torch_counts(kind: str) -> None:
    for config in configs(kind):
        for dim in (DIM, 7):
            module = config.build(dim, 0.1)
            assert config.parameters(dim) == sum(parameter.numel() for parameter in module.parameters()), config


@every_kind
def test_a_kind_names_its_widths_and_is_never_smaller_for_a_larger_one(kind: str) -> None:
    assert FFN.config(kind).widths, "without a width it fits no comparison at equal size"
    for config in configs(kind):
        for width in config.widths:
            sizes = []
            for more in range(12):
                try:
                    wider = dataclasses.replace(config, **{width: getattr(config, width) + more})  # type: ignore[type-var]
                except ValueError:
                    break  # beyond the kind's own limit
                sizes.append((wider.parameters(DIM), wider.macs(DIM, TOKENS), wider.macs_conditional(DIM, TOKENS)))
            assert len(sizes) > 1, f"{width} of {config} cannot grow"
            for before, after in itertools.pairwise(sizes):
                assert all(low <= high for low, high in zip(before, after, strict=True)), f"{width} of {config}"
            assert sizes[-1] > sizes[0], f"{width} of {config} changes nothing"


@every_kind
def test_the_multiply_adds_are_those_that_torch_counts(kind: str) -> None:
    for config in configs(kind):
        with torch.device("meta"):
            module = config.build(DIM, 0.1)
            x = torch.empty(1, TOKENS, DIM)
        with FlopCounterMode(display=False) as counter:
            module(x)
        assert 2 * config.macs(DIM, TOKENS) == counter.get_total_flops(), config
        used = config.neurons_used(DIM)
        assert used is None or used >= 0, config


@every_kind
@pytest.mark.parametrize("layout", ["single", "pair"])
def test_the_whole_model_builds_learns_and_costs_what_its_kind_says(kind: str, layout: str) -> None:
    flat = {
        "ffn": kind,
        "layout": layout,
        "dim": DIM,
        "depth": 2,
        "heads": 1,
        "patch": 16,
        "classes": 3,
        "dropout": 0.0,
    }
    config = ModelConfig.from_flat(flat)
    assert ModelConfig.from_flat(config.to_flat()) == config
    model = config.build()
    initialise(model, 0)
    priced = cost(config)
    assert priced.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert priced.shapes == {name: list(parameter.shape) for name, parameter in model.named_parameters()}

    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 3
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        logits = model(images)
        assert logits.shape == (6, 3)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
