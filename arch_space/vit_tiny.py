"""vit_tiny: "Vision Transformer for Small-Size Datasets", arXiv 2112.13492 (shifted patches, locality self-attention).

Shapes: B images, S pixels a side, p pixels a patch's side, T = (S/p)^2 + 1 tokens, D model width, h heads of 64.
"""

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from arch_space.model import ModelConfig

HEAD_WIDTH = 64
"""Width of an attention head, whatever D is."""
CHANNELS = 3
COPIES = 5
"""The image and its four shifted copies."""


class ShiftedPatchTokens(nn.Module):
    """(B, 3, S, S) -> (B, T, D): patches of the shifted images, a class token in front, learned positions added.

    The image and its copies shifted by one pixel left, right, up and down (zeros come in at the edge) are stacked in
    this order to 15 channels: channel 3 c + rgb is copy c. A patch is the vector (row, column, channel), the channel
    running fastest; patches run row by row. Then LayerNorm(15 p^2), Linear(15 p^2, D).
    """

    no_weight_decay = frozenset({"class_token", "positions"})
    compiled_region = True

    def __init__(self, dim: int, image_size: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        width = CHANNELS * COPIES * patch**2
        tokens = (image_size // patch) ** 2 + 1
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)
        self.class_token = nn.Parameter(torch.empty(dim))
        self.positions = nn.Parameter(torch.empty(tokens, dim))
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Class token and positions N(0, 1)."""
        nn.init.normal_(self.class_token)
        nn.init.normal_(self.positions)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, T, D)."""
        patches = self.project(self.norm(self.cut(images)))
        first = self.class_token.to(patches.dtype).expand(patches.shape[0], 1, -1)
        placed = torch.cat((first, patches), dim=1) + self.positions
        # under autocast the sum is float32, and so would be the stream between the blocks: twice the bytes
        return self.dropout(placed.to(patches.dtype))

    def cut(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, (S/p)^2, 15 p^2)."""
        size = images.shape[-1]
        padded = F.pad(images, (1, 1, 1, 1))
        middle = slice(1, size + 1)
        before, after = slice(0, size), slice(2, size + 2)
        left, right = padded[..., middle, after], padded[..., middle, before]
        up, down = padded[..., after, middle], padded[..., before, middle]
        stacked = torch.cat((images, left, right, up, down), dim=1)
        rows = stacked.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))  # (B, 15, S/p, p, S/p, p)
        return rows.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


class LocalitySelfAttention(nn.Module):
    """Softmax(exp(log_temperature) Q K^T) V over all tokens but oneself; (B, T, D) -> (B, T, D).

    Q, K, V come from one Linear(D, 3 h 64) without bias, split in this order, heads within each; output Linear(h 64, D)
    with bias, then dropout. One temperature serves all heads, started at 64^-1/2; its shape is (1,) because DeepSpeed
    refuses parameters without dimension.
    """

    stacked_weights = MappingProxyType({"query_key_value.weight": 3})
    off_diagonal: Tensor
    use_kernel = True
    """Whether a GPU takes its own kernel; it is switched off to compare the two."""

    def __init__(self, dim: int, heads: int, tokens: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(dim, 3 * heads * HEAD_WIDTH, bias=False)
        self.log_temperature = nn.Parameter(torch.empty(1))
        self.output = nn.Linear(heads * HEAD_WIDTH, dim)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("off_diagonal", ~torch.eye(tokens, dtype=torch.bool), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The temperature alone: the Linears reset themselves."""
        nn.init.constant_(self.log_temperature, HEAD_WIDTH**-0.5)
        with torch.no_grad():
            self.log_temperature.log_()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.dropout(self.output(self.mix(self.query_key_value(x))))

    def of_first_token(self, x: Tensor) -> Tensor:
        """`forward(x)[:, :1]`, (B, T, D) -> (B, 1, D), without the queries and the mixing of the other tokens.

        The products with one query are written out: they are bound by the bytes of the keys and values, each read once.
        """
        inner = self.heads * HEAD_WIDTH
        of_query, of_key_and_value = self.query_key_value.weight.split((inner, 2 * inner))
        query = F.linear(x[:, :1], of_query).unflatten(-1, (self.heads, HEAD_WIDTH))  # (B, 1, h, 64)
        packed = F.linear(x, of_key_and_value)[:, 1:]  # a token does not attend to itself
        key, value = packed.unflatten(-1, (2, self.heads, HEAD_WIDTH)).unbind(2)  # (B, T - 1, h, 64)
        scores = (query * self.log_temperature.exp() * key).sum(-1)
        shares = scores.softmax(1).unsqueeze(-1)
        mixed = (shares * value).sum(1, keepdim=True).flatten(2)
        return self.dropout(self.output(mixed.to(value.dtype)))

    def mix(self, packed: Tensor) -> Tensor:
        """Attention itself: query, key and value side by side, (B, T, 3 h 64), to (B, T, h 64)."""
        if packed.is_cuda and self.use_kernel:
            from arch_space import locality_kernel

            if locality_kernel.serves(packed):
                return locality_kernel.locality_attention(packed, self.log_temperature, self.heads)
        return self.mix_plainly(packed)

    def mix_plainly(self, packed: Tensor) -> Tensor:
        """The same by torch's own attention: anywhere, any number of tokens."""
        query, key, value = packed.unflatten(-1, (3, self.heads, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)  # (B, h, T, 64)
        # the product in the parameter's precision: in bfloat16 the temperature would learn in steps of 0.4 %
        query = (query * self.log_temperature.exp()).to(value.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=self.off_diagonal, scale=1.0)
        return mixed.transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Pre-norm: x + LSA(norm(x)), then x + FFN(norm(x)); in a pair, one more x + FFN(norm(x)) comes first.

    The feed-forward after attention has the same name in both layouts, so that it starts equal for equal seeds.

    Args:
        last: nothing reads the tokens behind the first one's output: from attention's queries on they are left out, and
            the block gives (B, 1, D), the same numbers and gradients at a third of the work.
    """

    compiled_region = True

    def __init__(self, config: "ModelConfig", *, last: bool = False) -> None:
        super().__init__()
        self.first_token_only = last
        pair = config.layout == "pair"
        self.ffn_before_norm = nn.LayerNorm(config.dim) if pair else None
        self.ffn_before = config.ffn.build(config.dim, config.dropout) if pair else None
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = LocalitySelfAttention(config.dim, config.heads, config.tokens, config.dropout)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn = config.ffn.build(config.dim, config.dropout)

    def extra_repr(self) -> str:
        """What tells a last block from another, which are compiled separately."""
        return "first_token_only" if self.first_token_only else ""

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D), or (B, 1, D) from the last block."""
        if self.ffn_before is not None and self.ffn_before_norm is not None:
            x = x + self.ffn_before(self.ffn_before_norm(x))
        normed = self.attention_norm(x)
        if self.first_token_only:
            x = x[:, :1] + self.attention.of_first_token(normed)
        else:
            x = x + self.attention(normed)
        return x + self.ffn(self.ffn_norm(x))


class VitTiny(nn.Module):
    """(B, 3, S, S) -> logits (B, classes), read from the class token by LayerNorm and Linear."""

    no_muon = frozenset({"head.weight"})

    def __init__(self, config: "ModelConfig") -> None:
        super().__init__()
        self.tokens = ShiftedPatchTokens(config.dim, config.image_size, config.patch, config.dropout)
        self.blocks = nn.ModuleList(Block(config, last=n == config.depth - 1) for n in range(config.depth))
        self.head_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, classes)."""
        x = self.tokens(images)
        for block in self.blocks:
            x = block(x)
        return self.head(self.head_norm(x[:, 0]))
