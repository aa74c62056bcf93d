"""Gated linear units in place of a dense layer: "GLU Variants Improve Transformer", arXiv 2002.05202.

    y = dropout(W2 dropout(activation(W x) * V x))        W and V (H, D), W2 (D, H), no biases, as in the paper

With SiLU it is SwiGLU, with GELU (in its exact form) GEGLU. x and y are (B, T, D). At equal H it has 3/2 of the matrices
of `mlp`; the paper compares at 2/3 of H. Dropout as in `mlp`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.flat import require, require_between
from arch_space.registry import FFN
from arch_space.space import Scope


@FFN.register("glu")
@dataclass(frozen=True, kw_only=True, slots=True)
class GLUConfig:
    """A gated linear unit (arXiv 2002.05202): SwiGLU, or GEGLU by its activation."""

    widths: ClassVar[tuple[str, ...]] = ("hidden",)

    hidden: int = 256
    """H, the width of the gate and of what it gates."""

    activation: Literal["silu", "gelu"] = "silu"
    """Of the gate: silu is SwiGLU, gelu GEGLU."""

    def __post_init__(self) -> None:
        require_between("hidden", self.hidden, 1, 1_048_576)
        require(self.activation in ACTIVATIONS, "activation", "must be one of silu, gelu", self.activation)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """H as `mlp` has it."""
        return cls(
            hidden=scope.int("hidden", 8, 1024, log=True), activation=scope.categorical("activation", ("silu", "gelu"))
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D)."""
        return GLU(dim, self.hidden, self.activation, dropout)

    def parameters(self, dim: int) -> int:
        """Three matrices."""
        return 3 * dim * self.hidden

    def neurons_used(self, dim: int) -> int:
        """H: every input uses every neuron, which is a pair of rows."""
        return self.hidden

    def macs(self, dim: int, tokens: int) -> int:
        """Three matrix products a token."""
        return tokens * 3 * dim * self.hidden

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """No conditional form: as `macs`."""
        return self.macs(dim, tokens)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": F.gelu}


class GLU(nn.Module):
    """W and V side by side in one Linear(D, 2 H), the product, dropout, Linear(H, D), dropout; torch's default start."""

    stacked_weights = MappingProxyType({"expand.weight": 2})

    def __init__(self, dim: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * hidden, bias=False)
        self.contract = nn.Linear(hidden, dim, bias=False)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate, value = self.expand(x).chunk(2, dim=-1)
        return self.dropout(self.contract(self.dropout(self.activation(gate) * value)))
