"""Locality self-attention on a GPU in one Triton kernel each way; arithmetic of `LocalitySelfAttention`.

The usual kernels want a mask tensor for the diagonal and tokens in multiples of 8 or 128, where we have N = 16 or 64
patches and a class token. One program here holds a whole head of one image: the patches as an N x N tile, the class token
as a vector beside it. It reads query, key and value where the Linear wrote them and writes where the next Linear reads,
so nothing is transposed. The scores are never stored: the backward pass computes them again from query and key (as
FlashAttention does, arXiv 2205.14135).

Imported on first use on a GPU alone: Triton does not come with torch's build for CPUs.
"""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDTH = 64
"""Of a head; a tile's columns."""


@triton.jit  # type: ignore[untyped-decorator]
def _attend(packed, log_temperature, mixed, HEADS: tl.constexpr, N: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    program = tl.program_id(0)
    image, head = (program // HEADS).to(tl.int64), program % HEADS
    row: tl.constexpr = 3 * HEADS * WIDTH
    patch, column = tl.arange(0, N), tl.arange(0, WIDTH)
    first = packed + image * (N + 1) * row + head * WIDTH
    tile = (patch[:, None] + 1) * row + column[None, :]
    query, key, value = first, first + HEADS * WIDTH, first + 2 * HEADS * WIDTH
    temperature = tl.exp(tl.load(log_temperature).to(tl.float32))

    q, k, v = tl.load(query + tile), tl.load(key + tile), tl.load(value + tile)
    q_class, k_class, v_class = (
        tl.load(query + column).to(tl.float32),
        tl.load(key + column).to(tl.float32),
        tl.load(value + column).to(tl.float32),
    )
    scores = tl.dot(q, tl.trans(k)) * temperature
    scores = tl.where(patch[:, None] == patch[None, :], float("-inf"), scores)
    to_class = tl.sum(q.to(tl.float32) * k_class[None, :], 1) * temperature
    highest = tl.maximum(tl.max(scores, 1), to_class)
    weights = tl.exp(scores - highest[:, None])
    weight_class = tl.exp(to_class - highest)
    total = tl.sum(weights, 1) + weight_class
    out = tl.dot(weights.to(v.dtype), v) + weight_class[:, None] * v_class[None, :]
    out = out / total[:, None]

    from_class = tl.sum(k.to(tl.float32) * q_class[None, :], 1) * temperature
    shares = tl.exp(from_class - tl.max(from_class, 0))
    out_class = tl.sum(shares[:, None] * v.to(tl.float32), 0) / tl.sum(shares, 0)

    to = mixed + image * (N + 1) * HEADS * WIDTH + head * WIDTH
    tl.store(to + (patch[:, None] + 1) * HEADS * WIDTH + column[None, :], out.to(v.dtype))
    tl.store(to + column, out_class.to(v.dtype))


@triton.jit  # type: ignore[untyped-decorator]
def _attend_backward(  # type: ignore[no-untyped-def]
    packed, log_temperature, d_mixed, d_packed, d_log, HEADS: tl.constexpr, N: tl.constexpr, WIDTH: tl.constexpr
):
    program = tl.program_id(0)
    image, head = (program // HEADS).to(tl.int64), program % HEADS
    row: tl.constexpr = 3 * HEADS * WIDTH
    patch, column = tl.arange(0, N), tl.arange(0, WIDTH)
    offset = image * (N + 1) * row + head * WIDTH
    tile = (patch[:, None] + 1) * row + column[None, :]
    query, key, value = packed + offset, packed + offset + HEADS * WIDTH, packed + offset + 2 * HEADS * WIDTH
    temperature = tl.exp(tl.load(log_temperature).to(tl.float32))

    q, k, v = tl.load(query + tile), tl.load(key + tile), tl.load(value + tile)
    kind = q.dtype
    q_class, k_class, v_class = (
        tl.load(query + column).to(tl.float32),
        tl.load(key + column).to(tl.float32),
        tl.load(value + column).to(tl.float32),
    )
    came = d_mixed + image * (N + 1) * HEADS * WIDTH + head * WIDTH
    d_out = tl.load(came + (patch[:, None] + 1) * HEADS * WIDTH + column[None, :])
    d_out_class = tl.load(came + column).to(tl.float32)

    # the weights again
    raw = tl.dot(q, tl.trans(k)) * temperature
    scores = tl.where(patch[:, None] == patch[None, :], float("-inf"), raw)
    to_class = tl.sum(q.to(tl.float32) * k_class[None, :], 1) * temperature
    highest = tl.maximum(tl.max(scores, 1), to_class)
    weights = tl.exp(scores - highest[:, None])
    weight_class = tl.exp(to_class - highest)
    total = tl.sum(weights, 1) + weight_class
    weights, weight_class = weights / total[:, None], weight_class / total
    from_class = tl.sum(k.to(tl.float32) * q_class[None, :], 1) * temperature
    shares = tl.exp(from_class - tl.max(from_class, 0))
    shares = shares / tl.sum(shares, 0)

    # value
    d_v = tl.dot(tl.trans(weights.to(kind)), d_out) + shares[:, None] * d_out_class[None, :]
    d_v_class = tl.sum(weight_class[:, None] * d_out.to(tl.float32), 0)

    # scores, through the softmax
    d_weights = tl.dot(d_out, tl.trans(v))
    d_weight_class = tl.sum(d_out.to(tl.float32) * v_class[None, :], 1)
    mean = tl.sum(weights * d_weights, 1) + weight_class * d_weight_class
    d_scores = weights * (d_weights - mean[:, None])
    d_to_class = weight_class * (d_weight_class - mean)
    d_shares = tl.sum(v.to(tl.float32) * d_out_class[None, :], 1)
    d_from_class = shares * (d_shares - tl.sum(shares * d_shares, 0))

    # query and key
    of_log = tl.sum(tl.sum(d_scores * raw, 1), 0) + tl.sum(d_to_class * to_class + d_from_class * from_class, 0)
    tl.store(d_log + program, of_log)
    d_q = tl.dot(d_scores.to(kind), k) + d_to_class[:, None] * k_class[None, :]
    d_k = tl.dot(tl.trans(d_scores.to(kind)), q) + d_from_class[:, None] * q_class[None, :]
    d_q_class = tl.sum(d_from_class[:, None] * k.to(tl.float32), 0)
    d_k_class = tl.sum(d_to_class[:, None] * q.to(tl.float32), 0)

    d_query, d_key, d_value = (
        d_packed + offset,
        d_packed + offset + HEADS * WIDTH,
        d_packed + offset + 2 * HEADS * WIDTH,
    )
    tl.store(d_query + tile, (d_q * temperature).to(kind))
    tl.store(d_query + column, (d_q_class * temperature).to(kind))
    tl.store(d_key + tile, (d_k * temperature).to(kind))
    tl.store(d_key + column, (d_k_class * temperature).to(kind))
    tl.store(d_value + tile, d_v.to(kind))
    tl.store(d_value + column, d_v_class.to(kind))


def _locality_attention(packed: Tensor, log_temperature: Tensor, heads: int) -> Tensor:
    images, tokens, _ = packed.shape
    mixed = packed.new_empty(images, tokens, heads * WIDTH)
    _attend[(images * heads,)](packed, log_temperature, mixed, heads, tokens - 1, WIDTH, num_warps=4)
    return mixed


def _fake(packed: Tensor, log_temperature: Tensor, heads: int) -> Tensor:
    return packed.new_empty(packed.shape[0], packed.shape[1], heads * WIDTH)


def _locality_attention_backward(
    packed: Tensor, log_temperature: Tensor, d_mixed: Tensor, heads: int
) -> tuple[Tensor, Tensor]:
    images, tokens, _ = packed.shape
    d_packed = torch.empty_like(packed)
    d_log = packed.new_empty(images * heads, dtype=torch.float32)
    _attend_backward[(images * heads,)](
        packed, log_temperature, d_mixed.contiguous(), d_packed, d_log, heads, tokens - 1, WIDTH, num_warps=4
    )
    return d_packed, d_log


def _fake_backward(packed: Tensor, log_temperature: Tensor, d_mixed: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    return torch.empty_like(packed), packed.new_empty(packed.shape[0] * heads, dtype=torch.float32)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    packed, log_temperature, ctx.heads = inputs
    ctx.save_for_backward(packed, log_temperature)


def _gradients(ctx, d_mixed):  # type: ignore[no-untyped-def]
    packed, log_temperature = ctx.saved_tensors
    d_packed, d_log = torch.ops.arbor.locality_attention_backward(packed, log_temperature, d_mixed, ctx.heads)
    return d_packed, d_log.sum().reshape(log_temperature.shape).to(log_temperature.dtype), None


# not by torch.library.custom_op: what that registers imports the compiler, for seconds, when it is first called
def _register(name: str, schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(name, "default", kernel)
    torch.library.register_fake(name, fake)


_register(
    "arbor::locality_attention",
    "(Tensor packed, Tensor log_temperature, SymInt heads) -> Tensor",
    _locality_attention,
    _fake,
)
_register(
    "arbor::locality_attention_backward",
    "(Tensor packed, Tensor log_temperature, Tensor d_mixed, SymInt heads) -> (Tensor, Tensor)",
    _locality_attention_backward,
    _fake_backward,
)
torch.library.register_autograd("arbor::locality_attention", _gradients, setup_context=_keep)


def serves(packed: Tensor) -> bool:
    """Whether the kernel takes such a (B, T, 3 h 64): 16 or 64 patches beside the class token, in a 16-bit format."""
    return packed.dtype in (torch.bfloat16, torch.float16) and packed.shape[1] - 1 in (16, 64)


def locality_attention(packed: Tensor, log_temperature: Tensor, heads: int) -> Tensor:
    """Query, key and value side by side, (B, T, 3 h 64), and one log of the temperature, (1,), to (B, T, h 64)."""
    mixed: Tensor = torch.ops.arbor.locality_attention(packed.contiguous(), log_temperature, heads)
    return mixed
