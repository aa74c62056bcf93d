"""Dense rows: a small dense feed-forward without biases, added to a tree's output and always on.

    y = W2 gelu(W1 x)        W1 (rows, D), W2 (D, rows)

The "master leaf" of "Enhancing Fast Feed Forward Networks with Load Balancing and a Master Leaf Node", arXiv 2405.16836.
Trees of several kinds share this module.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class DenseRows(nn.Module):
    """Linear(D, rows), GELU, Linear(rows, D), both without bias and without dropout; torch's default start."""

    def __init__(self, dim: int, rows: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, rows, bias=False)
        self.contract = nn.Linear(rows, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.contract(F.gelu(self.expand(x)))
