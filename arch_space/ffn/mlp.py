"""The dense feed-forward of a transformer: two Linears with GELU between ("Attention Is All You Need", arXiv 1706.03762).

    y = dropout(W2 dropout(gelu(W1 x + b1)) + b2)        W1 (H, D), b1 (H), W2 (D, H), b2 (D)

x and y are (B, T, D); GELU (arXiv 1606.08415) in its exact form. Dropout and sizes as in the Vision Transformer for
Small-Size Datasets, arXiv 2112.13492.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor, nn

from arch_space.flat import require_between
from arch_space.registry import FFN
from arch_space.space import Scope


@FFN.register("mlp")
@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """A dense feed-forward of one hidden layer (arXiv 1706.03762)."""

    widths: ClassVar[tuple[str, ...]] = ("hidden",)

    hidden: int = 256
    """H, the width of the hidden layer."""

    def __post_init__(self) -> None:
        require_between("hidden", self.hidden, 1, 1_048_576)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """H from 8 to 1024: below the smallest published size and up to twice the default D."""
        return cls(hidden=scope.int("hidden", 8, 1024, log=True))

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D)."""
        return MLP(dim, self.hidden, dropout)

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


class MLP(nn.Module):
    """Linear(D, H), GELU, dropout, Linear(H, D), dropout; Linears start as torch's default."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.dropout(self.activation(self.expand(x)))
        return self.dropout(self.contract(hidden))
