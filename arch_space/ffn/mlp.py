"""The dense feed-forward: two Linears with an activation between ("Attention Is All You Need", arXiv 1706.03762).

    y = dropout(W2 dropout(activation(W1 x + b1)) + b2)        W1 (H, D), b1 (H), W2 (D, H), b2 (D)

x and y are (B, T, D). The activation is GELU (arXiv 1606.08415) in its exact form, ReLU, SiLU (arXiv 1702.03118) or
squared ReLU (Primer, arXiv 2109.08668). Dropout and sizes as in the Vision Transformer for Small-Size Datasets,
arXiv 2112.13492.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.flat import require, require_between
from arch_space.registry import FFN
from arch_space.space import Scope


@FFN.register("mlp")
@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """A dense feed-forward of one hidden layer (arXiv 1706.03762)."""

    widths: ClassVar[tuple[str, ...]] = ("hidden",)

    hidden: int = 256
    """H, the width of the hidden layer."""

    activation: Literal["gelu", "relu", "silu", "squared_relu"] = "gelu"
    """Between the two Linears; a random suggestion leaves it at GELU."""

    def __post_init__(self) -> None:
        require_between("hidden", self.hidden, 1, 1_048_576)
        require(
            self.activation in ACTIVATIONS, "activation", f"must be one of {', '.join(ACTIVATIONS)}", self.activation
        )

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """H from 8 to 1024: below the smallest published size and up to twice the default D."""
        return cls(hidden=scope.int("hidden", 8, 1024, log=True))

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D)."""
        return MLP(dim, self.hidden, self.activation, dropout)

    def parameters(self, dim: int) -> int:
        """Two matrices, two biases."""
        return 2 * dim * self.hidden + self.hidden + dim

    def neurons_used(self, dim: int) -> int:
        """H: every input uses every neuron."""
        return self.hidden

    def macs(self, dim: int, tokens: int) -> int:
        """Two matrix products a token."""
        return tokens * 2 * dim * self.hidden

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """No conditional form: as `macs`."""
        return self.macs(dim, tokens)


def squared_relu(x: Tensor) -> Tensor:
    """max(0, x)^2, element by element."""
    return F.relu(x).square()


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "squared_relu": squared_relu,
}


class MLP(nn.Module):
    """Linear(D, H), activation, dropout, Linear(H, D), dropout; Linears start as torch's default."""

    def __init__(self, dim: int, hidden: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.activation = ACTIVATIONS[activation]
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.dropout(self.activation(self.expand(x)))
        return self.dropout(self.contract(hidden))
