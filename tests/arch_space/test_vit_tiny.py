"""vit_tiny against science.md's counts and against a naive reference in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from arch_space.cost import cost
from arch_space.initialise import initialise
from arch_space.model import ModelConfig

PUBLISHED = [
    ({}, 4_371_438),
    ({"layout": "pair"}, 5_427_182),
    ({"layout": "pair", "ffn.mlp.hidden": 128}, 4_377_582),
    ({"ffn": "fff", "ffn.fff.depth": 7}, 4_365_290),
]


@pytest.mark.parametrize(("keys", "parameters"), PUBLISHED)
def test_parameter_counts_are_sciences_to_the_unit(keys, parameters):
    config = ModelConfig.from_flat(keys)
    assert cost(config).parameters == parameters
    assert sum(p.numel() for p in config.build().parameters()) == parameters


def test_the_baseline_takes_293_million_multiply_adds():
    assert cost(ModelConfig()).macs == pytest.approx(293e6, rel=0.005)


@settings(max_examples=25, deadline=None)
@given(
    dim=st.integers(1, 40), depth=st.integers(1, 3), heads=st.integers(1, 3), patch=st.sampled_from([4, 8, 16]),
    pair=st.booleans(), classes=st.integers(2, 20), hidden=st.integers(1, 30),
    tree=st.booleans(), tree_depth=st.integers(0, 4), trees=st.integers(1, 4), rows=st.integers(0, 5),
)  # fmt: skip
def test_the_count_is_the_written_out_formula_for_any_keys(
    dim, depth, heads, patch, pair, classes, hidden, tree, tree_depth, trees, rows
):
    flat = {
        "dim": dim, "depth": depth, "heads": heads, "patch": patch, "classes": classes,
        "layout": "pair" if pair else "single",
    }  # fmt: skip
    if tree:
        flat |= {"ffn": "fff", "ffn.fff.depth": tree_depth, "ffn.fff.trees": trees, "ffn.fff.dense_rows": rows}
        feed_forward = trees * (2 ** (tree_depth + 1) - 1) * (2 * dim + 1) + 2 * dim * rows
    else:
        flat |= {"ffn": "mlp", "ffn.mlp.hidden": hidden}
        feed_forward = 2 * dim * hidden + hidden + dim
    values = 15 * patch**2
    tokens = (32 // patch) ** 2 + 1
    embedding = 2 * values + values * dim + dim + dim + tokens * dim
    attention = 2 * dim + dim * 3 * 64 * heads + 1 + 64 * heads * dim + dim
    block = attention + (1 + pair) * (2 * dim + feed_forward)
    head = 2 * dim + dim * classes + classes
    assert cost(ModelConfig.from_flat(flat)).parameters == embedding + depth * block + head


def naive_tokens(module, images):
    """Shifted copies, patches and positions, written out pixel by pixel."""
    batch, _, size, _ = images.shape
    patch = module.patch
    copies = torch.zeros(batch, 15, size, size, dtype=images.dtype)
    # copy c at (y, x) shows the pixel at (y + dy, x + dx): moved left, right, up, down by one
    for copy, (dy, dx) in enumerate([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]):
        for y in range(size):
            for x in range(size):
                if 0 <= y + dy < size and 0 <= x + dx < size:
                    copies[:, 3 * copy : 3 * copy + 3, y, x] = images[:, :, y + dy, x + dx]
    patches = []
    for top in range(0, size, patch):
        for left in range(0, size, patch):
            square = copies[:, :, top : top + patch, left : left + patch]
            patches.append(square.permute(0, 2, 3, 1).reshape(batch, -1))
    projected = module.project(module.norm(torch.stack(patches, dim=1)))
    first = module.class_token.expand(batch, 1, -1)
    return torch.cat([first, projected], dim=1) + module.positions


def naive_attention(module, x):
    """Softmax attention head by head, query by query, a token never looking at itself."""
    _, tokens, _ = x.shape
    query, key, value = module.query_key_value(x).chunk(3, dim=-1)
    temperature = module.log_temperature.exp()
    mixed = torch.zeros_like(query)
    for head in range(module.heads):
        part = slice(64 * head, 64 * (head + 1))
        for token in range(tokens):
            others = [other for other in range(tokens) if other != token]
            scores = (key[:, others, part] @ query[:, token, part, None]).squeeze(-1) * temperature
            weights = F.softmax(scores, dim=-1)
            mixed[:, token, part] = (weights[:, :, None] * value[:, others, part]).sum(dim=1)
    return module.output(mixed)


@pytest.fixture
def model():
    config = ModelConfig.from_flat({"dim": 24, "depth": 2, "heads": 2, "patch": 4, "image_size": 8, "layout": "pair"})
    built = config.build()
    initialise(built, 3)
    return built.double().eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_patch_tokens_are_the_naive_ones(model, images):
    torch.testing.assert_close(model.tokens(images), naive_tokens(model.tokens, images))


def test_attention_is_the_naive_one_and_so_are_its_gradients(model, images):
    x = model.tokens(images).detach()
    fast, slow = x.clone().requires_grad_(), x.clone().requires_grad_()
    one, other = model.blocks[0].attention(fast), naive_attention(model.blocks[0].attention, slow)
    torch.testing.assert_close(one, other)
    one.square().sum().backward()
    temperature = model.blocks[0].attention.log_temperature
    fast_gradient = temperature.grad.clone()
    temperature.grad = None
    other.square().sum().backward()
    torch.testing.assert_close(fast.grad, slow.grad)
    torch.testing.assert_close(fast_gradient, temperature.grad)


def test_the_temperature_starts_at_an_eighth_in_a_vector_of_one(model):
    temperature = model.blocks[0].attention.log_temperature
    assert temperature.shape == (1,)
    assert temperature.exp().item() == pytest.approx(64**-0.5)


def test_blocks_are_pre_norm_with_full_residuals_and_the_pair_comes_first(model, images):
    block, x = model.blocks[0], model.tokens(images)
    x1 = x + block.ffn_before(block.ffn_before_norm(x))
    x2 = x1 + naive_attention(block.attention, block.attention_norm(x1))
    torch.testing.assert_close(block(x), x2 + block.ffn(block.ffn_norm(x2)))


def test_the_head_reads_the_class_token(model, images):
    x = model.tokens(images)
    for block in model.blocks:
        x = block(x)
    torch.testing.assert_close(model(images), model.head(model.head_norm(x[:, 0])))


@pytest.mark.parametrize(("ffn", "times"), [("mlp", 4), ("fff", 2)])
def test_dropout_is_where_science_says_and_nowhere_else(ffn, times):
    """After the positions and after attention's output; in a dense feed-forward after GELU and at the end."""
    model = ModelConfig.from_flat({"dim": 8, "depth": 1, "heads": 1, "dropout": 0.3, "ffn": ffn}).build()
    applied = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, inputs, output: applied.append(module.p))
    model(torch.randn(2, 3, 32, 32))
    assert applied == [0.3] * times


def test_class_token_and_positions_start_as_standard_normal_numbers():
    model = ModelConfig().build()
    initialise(model, 0)
    values = torch.cat([model.tokens.class_token, model.tokens.positions.flatten()])
    assert abs(values.mean().item()) < 5 / math.sqrt(values.numel())
    assert values.std().item() == pytest.approx(1, abs=0.02)


def test_parts_that_two_variants_share_start_equal_and_seeds_differ():
    dense, tree = ModelConfig().build(), ModelConfig.from_flat({"ffn": "fff"}).build()
    before = torch.get_rng_state()
    initialise(dense, 7)
    initialise(tree, 7)
    assert torch.equal(torch.get_rng_state(), before), "the global random state is left alone"
    one, other = dense.state_dict(), tree.state_dict()
    shared = [name for name in one if name in other and ".ffn." not in name]
    assert len(shared) > 20
    assert all(torch.equal(one[name], other[name]) for name in shared)
    again = ModelConfig().build()
    initialise(again, 8)
    assert not torch.equal(again.state_dict()["head.weight"], one["head.weight"])
