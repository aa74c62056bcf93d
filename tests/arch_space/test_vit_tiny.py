"""vit_tiny's parts against naive references in float64 (arXiv 2112.13492)."""

import math

import pytest
import torch
from torch import Tensor, nn

from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.vit_tiny import Block, LocalitySelfAttention, ShiftedPatchTokens, VitTiny

SMALL = {"dim": 12, "depth": 2, "heads": 2, "patch": 4, "image_size": 8, "classes": 3, "ffn.mlp.hidden": 7}


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def small(**changes: object) -> VitTiny:
    model = ModelConfig.from_flat({**SMALL, **changes}).build()
    initialise(model, 0)
    return model


def test_patches_hold_the_image_and_its_shifts_to_left_right_up_and_down_with_zeros_at_the_edge() -> None:
    size, patch = 8, 4
    images = draw(2, 3, size, size)
    cut = ShiftedPatchTokens(5, size, patch, 0.0).cut(images)
    assert cut.shape == (2, 4, 15 * patch**2)
    # Content that moves left by one comes from the column to the right, and so on.
    sources = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]
    for image in range(2):
        for index in range(4):
            top, left = patch * (index // 2), patch * (index % 2)
            expected = []
            for row in range(top, top + patch):
                for column in range(left, left + patch):
                    for down, across in sources:
                        inside = 0 <= row + down < size and 0 <= column + across < size
                        for channel in range(3):
                            value = images[image, channel, row + down, column + across].item() if inside else 0.0
                            expected.append(value)
            assert cut[image, index].tolist() == expected


def test_tokens_are_the_class_token_and_the_projected_patches_plus_positions() -> None:
    part = ShiftedPatchTokens(5, 8, 4, 0.0)
    initialise(part, 0)
    part = part.double()
    images = draw(2, 3, 8, 8)
    tokens = part(images)
    assert tokens.shape == (2, 5, 5)
    torch.testing.assert_close(tokens[1, 0], part.class_token + part.positions[0])
    patch = part.cut(images)[1, 2]
    normed = (patch - patch.mean()) / torch.sqrt(patch.var(unbiased=False) + 1e-5)
    expected = part.project.weight @ normed + part.project.bias + part.positions[3]
    torch.testing.assert_close(tokens[1, 3], expected)


def test_class_token_and_positions_start_as_standard_normal() -> None:
    part = ShiftedPatchTokens(512, 32, 4, 0.0)
    initialise(part, 0)
    assert part.class_token.shape == (512,)
    assert part.positions.shape == (65, 512)
    for parameter in (part.class_token, part.positions):
        assert abs(parameter.mean().item()) < 0.15
        assert abs(parameter.std().item() - 1) < 0.1


def naive_attention(part: LocalitySelfAttention, x: Tensor) -> Tensor:
    """One image (T, D) -> (T, D), token by token; a token's own score is left out."""
    heads, width = part.heads, 64
    query, key, value = part.query_key_value.weight.split(heads * width)
    temperature = part.log_temperature.exp()
    rows = []
    for token in range(len(x)):
        mixed = []
        for head in range(heads):
            rows_of_head = slice(head * width, (head + 1) * width)
            q = query[rows_of_head] @ x[token]
            others = [other for other in range(len(x)) if other != token]
            scores = torch.stack([q @ (key[rows_of_head] @ x[other]) * temperature[0] for other in others])
            weights = scores.exp() / scores.exp().sum()
            mixed.append(sum(w * (value[rows_of_head] @ x[o]) for w, o in zip(weights, others, strict=True)))
        rows.append(part.output.weight @ torch.cat(mixed) + part.output.bias)
    return torch.stack(rows)


def test_attention_and_its_gradients_equal_the_naive_loop() -> None:
    part = LocalitySelfAttention(6, 2, 5, 0.0)
    initialise(part, 0)
    part = part.double()
    with torch.no_grad():
        part.log_temperature.add_(1.5)  # sharper than the start, so that the scores matter
    x = draw(2, 5, 6).requires_grad_()
    expected = torch.stack([naive_attention(part, image) for image in x])
    torch.testing.assert_close(part(x), expected)
    parameters = [x, *part.parameters()]
    upstream = draw(2, 5, 6).flip(0)
    got = torch.autograd.grad((part(x) * upstream).sum(), parameters)
    for mine, wanted in zip(got, torch.autograd.grad((expected * upstream).sum(), parameters), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_a_token_does_not_attend_to_itself() -> None:
    part = LocalitySelfAttention(6, 1, 4, 0.0).double()
    x = draw(1, 4, 6)
    changed = x.clone()
    value_rows = part.query_key_value.weight[128:]
    # Move token 2 where neither queries nor keys see it, so that only its value differs.
    unseen = torch.linalg.svd(part.query_key_value.weight[:128]).Vh[-1]
    with torch.no_grad():
        part.query_key_value.weight[:128] -= part.query_key_value.weight[:128] @ torch.outer(unseen, unseen)
    changed[0, 2] += unseen
    assert (value_rows @ unseen).norm() > 0.1
    before, after = part(x)[0], part(changed)[0]
    torch.testing.assert_close(after[2], before[2])
    assert all((after[token] - before[token]).norm() > 1e-3 for token in (0, 1, 3))


def test_one_temperature_serves_all_heads_starts_at_an_eighth_and_learns() -> None:
    part = LocalitySelfAttention(6, 3, 5, 0.0)
    assert part.log_temperature.shape == (1,)
    assert part.log_temperature.item() == pytest.approx(math.log(64**-0.5))
    part(draw(2, 5, 6).float()).square().sum().backward()
    assert part.log_temperature.grad is not None
    assert part.log_temperature.grad.abs().item() > 0


def test_blocks_are_pre_norm_with_full_residuals_and_a_pair_puts_one_feed_forward_before_attention() -> None:
    x = draw(2, 5, 12)
    for layout in ("single", "pair"):
        block = small(layout=layout, dropout=0.0).double().blocks[0]
        assert isinstance(block, Block)
        y = x
        if layout == "pair":
            assert block.ffn_before is not None
            assert block.ffn_before_norm is not None
            y = y + block.ffn_before(block.ffn_before_norm(y))
        y = y + block.attention(block.attention_norm(y))
        y = y + block.ffn(block.ffn_norm(y))
        torch.testing.assert_close(block(x), y, rtol=0, atol=0)


@pytest.mark.parametrize("layout", ["single", "pair"])
@pytest.mark.parametrize("kind", ["mlp", "fff"])
def test_the_last_block_leaves_out_only_what_nobody_reads(layout: str, kind: str) -> None:
    """Logits and gradients of a model whose last block computes every token are the same."""
    flat = {key: value for key, value in SMALL.items() if not key.startswith("ffn.")}
    model = ModelConfig.from_flat({**flat, "ffn": kind, "layout": layout, "dropout": 0.0}).build()
    initialise(model, 0)
    model, images = model.double(), draw(4, 3, 8, 8)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.log_temperature.add_(1.5)
    told = []
    for first_token_only in (True, False):
        model.blocks[-1].first_token_only = first_token_only
        logits = model(images)
        told.append([logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))])
    assert [block.first_token_only for block in ModelConfig().build().blocks] == [False, False, False, True]
    for left_out, whole in zip(*told, strict=True):
        torch.testing.assert_close(left_out, whole)


def test_the_dense_feed_forward_equals_its_formula() -> None:
    ffn = small(dropout=0.0).double().blocks[0].ffn
    x = draw(2, 5, 12)
    z = x @ ffn.expand.weight.T + ffn.expand.bias
    hidden = 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))
    torch.testing.assert_close(ffn(x), hidden @ ffn.contract.weight.T + ffn.contract.bias)


def test_the_class_token_alone_is_classified() -> None:
    model = small().double().eval()
    seen: list[Tensor] = []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(draw(4, 3, 8, 8))
    assert logits.shape == (4, 3)
    torch.testing.assert_close(logits, model.head(model.head_norm(seen[0][:, 0])))


def test_dropout_sits_where_science_says_and_nowhere_else() -> None:
    for kind, expected in (("mlp", 2), ("fff", 0)):
        flat = {key: value for key, value in SMALL.items() if not key.startswith("ffn.")}
        model = ModelConfig.from_flat({**flat, "ffn": kind, "dropout": 0.25}).build()
        calls: list[str] = []
        for name, part in model.named_modules():
            if isinstance(part, nn.Dropout):
                assert part.p == 0.25
                part.register_forward_hook(lambda module, inputs, output, name=name, calls=calls: calls.append(name))
        model(draw(1, 3, 8, 8).float())
        assert calls[0] == "tokens.dropout"
        assert calls.count("blocks.1.attention.dropout") == 1
        assert sum(name.startswith("blocks.1.ffn") for name in calls) == expected
        assert len(calls) == 1 + 2 * (1 + expected)


def test_dropout_drops_after_attention_s_output_and_not_inside_attention() -> None:
    part = LocalitySelfAttention(6, 2, 5, 0.5).train()
    x = draw(2, 5, 6).float()
    torch.manual_seed(0)
    dropped = part(x)
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(dropped[kept], 2 * part.eval()(x)[kept])


def test_the_same_input_gives_the_same_bits_forward_and_backward() -> None:
    def run() -> list[Tensor]:
        model = small(ffn="mlp", dropout=0.1)
        torch.manual_seed(5)
        logits = model(draw(4, 3, 8, 8).float())
        logits.square().sum().backward()
        return [logits, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


@pytest.mark.parametrize("kind", ["mlp", "fff"])
def test_it_trains_under_bfloat16_autocast_with_float32_weights(kind: str) -> None:
    flat = {key: value for key, value in SMALL.items() if not key.startswith("ffn.")}
    model = ModelConfig.from_flat({**flat, "ffn": kind, "dropout": 0.0}).build()
    initialise(model, 0)
    images = draw(4, 3, 8, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images)
        loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    if kind == "mlp":
        torch.testing.assert_close(logits.float(), model(images), rtol=0.05, atol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["mlp", "fff"])
def test_a_gpu_computes_what_the_cpu_computes(kind: str) -> None:
    flat = {key: value for key, value in SMALL.items() if not key.startswith("ffn.")}
    model = ModelConfig.from_flat({**flat, "ffn": kind, "dropout": 0.0}).build()
    initialise(model, 0)
    model, images = model.double(), draw(4, 3, 8, 8)
    expected = model(images)
    torch.testing.assert_close(model.cuda()(images.cuda()).cpu(), expected)
