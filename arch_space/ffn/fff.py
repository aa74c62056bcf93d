"""FFF, a tree of neurons: "Exponentially Faster Language Modelling", arXiv 2311.10770.

Each of P trees of depth d has N = 2^(d+1) - 1 nodes, in level order: the children of node i are 2i + 1 (left) and
2i + 2 (right). A node n is one neuron with in-row w_n (D), bias b_n and out-row v_n (D):

    z_n = w_n . x + b_n        y = sum over the trees, sum over the visited nodes n, gelu(z_n) v_n  [+ dense rows]

From the root, an input goes right where z_n > 0, else left, and so visits d + 1 nodes of a tree.

- Training form (`forward`): all P N pre-activations by one matrix product, times the 0/1 mask of the path (made without
  gradient), one matrix product out. The gradient reaches visited nodes only, and the choice itself has none.
- Conditional form (`forward_conditional`): reads the d + 1 visited rows of a tree and no others. Same values.

A node of level l (the root's is 0) may learn at a rate of its own, lr ratio^(d - l): its in-row, its bias and its out-row.
The factors are the module's `level_rates`; the optimizer applies them (`trainer.level_rates`).

Shapes: x and y (B, T, D); in_weight and out_weight (P N, D), in_bias (P N), tree after tree.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.dense_rows import DenseRows
from arch_space.flat import require_between
from arch_space.level_rates import level_rates, require_level_lr_ratio
from arch_space.registry import FFN
from arch_space.space import Scope


@FFN.register("fff")
@dataclass(frozen=True, kw_only=True, slots=True)
class FFFConfig:
    """P trees of neurons of depth d side by side, outputs summed (arXiv 2311.10770)."""

    depth: int = 7
    """d, the number of choices on a path. 0 makes each tree one neuron without a choice, the paper's "x0" models."""

    trees: int = 1
    """P, the number of trees whose outputs are summed."""

    dense_rows: int = 0
    """Hidden units of a small dense feed-forward without biases, always on, added to the output; 0 for none."""

    level_lr_ratio: float = 1.0
    """Ratio of the learning rates of a level and the one below it: below 1, the root is slowest and leaves keep `lr`."""

    level_lr_equal_mean: bool = False
    """Divide the levels' rates by their mean over a tree's neurons, which so keep the mean rate `lr`."""

    widths: ClassVar[tuple[str, ...]] = ("trees", "dense_rows")
    """What a match of costs may vary, coarse first."""

    def __post_init__(self) -> None:
        require_between("depth", self.depth, 0, 20)
        require_between("trees", self.trees, 1, 65_536)
        require_between("dense_rows", self.dense_rows, 0, 1_048_576)
        require_level_lr_ratio(self.level_lr_ratio)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """Published depths and more trees, one rate for all levels. Depth is linear because nodes double with it."""
        return cls(
            depth=scope.int("depth", 1, 8),
            trees=scope.int("trees", 1, 16, log=True),
            dense_rows=scope.int("dense_rows", 0, 32, step=8),
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D). There is no dropout inside a tree or its dense rows."""
        return FFF(dim, self.depth, self.trees, self.dense_rows, self.level_rates)

    @property
    def level_rates(self) -> tuple[float, ...]:
        """Factor of the learning rate by level, root first."""
        neurons = [2**level for level in range(self.depth + 1)]
        return level_rates(self.depth, self.level_lr_ratio, neurons, self.level_lr_equal_mean)

    @property
    def nodes(self) -> int:
        """Nodes of all trees, P (2^(d+1) - 1)."""
        return self.trees * (2 ** (self.depth + 1) - 1)

    def parameters(self, dim: int) -> int:
        """An in-row, an out-row and a bias for each node; two rows for each dense one."""
        return self.nodes * (2 * dim + 1) + 2 * dim * self.dense_rows

    def neurons_used(self, dim: int) -> int:
        """P (d + 1) + dense rows."""
        return self.trees * (self.depth + 1) + self.dense_rows

    def macs(self, dim: int, tokens: int) -> int:
        """As trained: every node computed, then masked."""
        return tokens * 2 * dim * (self.nodes + self.dense_rows)

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """Visited nodes and dense rows only."""
        return tokens * 2 * dim * self.neurons_used(dim)


ALIGNED = 64
"""Rows are padded by zeros to a multiple of this on a GPU: its matrix units starve on odd sizes such as 255."""


class FFF(nn.Module):
    """The trees. Start: in-rows and biases uniform within +-D^-1/2, out-rows within +-((d+1) P)^-1/2.

    Args:
        level_rates: factor of the learning rate of each of the d + 1 levels, root first; all 1 where it is left out.
    """

    executions = ("dense", "conditional")
    """Forms in which an evaluation may compute it; `execution` names the one in use. Training is always dense."""

    numbers: Tensor
    levels_below: Tensor

    def __init__(
        self, dim: int, depth: int, trees: int, dense_rows: int, level_rates: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.depth = depth
        self.trees = trees
        self.nodes = 2 ** (depth + 1) - 1
        self.leaf_count = 2**depth
        self.level_rates = (1.0,) * (depth + 1) if level_rates is None else level_rates
        self.execution = "dense"
        self.in_weight = nn.Parameter(torch.empty(trees * self.nodes, dim))
        self.in_bias = nn.Parameter(torch.empty(trees * self.nodes))
        self.out_weight = nn.Parameter(torch.empty(trees * self.nodes, dim))
        self.dense = DenseRows(dim, dense_rows) if dense_rows else None
        small = (
            torch.int16 if depth < 15 else torch.int32
        )  # an eager mask is written and read in this type, node by node
        numbers = torch.arange(1, self.nodes + 1, dtype=small)
        levels_below = torch.tensor(
            [depth + 1 - number.bit_length() for number in range(1, self.nodes + 1)], dtype=small
        )
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("levels_below", levels_below, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The out-rows' bound counts the d + 1 neurons a tree adds up, not all its nodes, of which most are masked."""
        in_bound = self.in_weight.shape[1] ** -0.5
        out_bound = ((self.depth + 1) * self.trees) ** -0.5
        nn.init.uniform_(self.in_weight, -in_bound, in_bound)
        nn.init.uniform_(self.in_bias, -in_bound, in_bound)
        nn.init.uniform_(self.out_weight, -out_bound, out_bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D): the training form, or in evaluation the form that `execution` names."""
        if self.execution == "conditional" and not self.training:
            return self.forward_conditional(x)
        missing = -len(self.in_bias) % ALIGNED if x.is_cuda else 0
        z = F.linear(x, F.pad(self.in_weight, (0, 0, 0, missing)), F.pad(self.in_bias, (0, missing)))
        visited = F.pad(self.path_mask(z[..., : len(self.in_bias)]), (0, missing))
        y = torch.matmul(F.gelu(z) * visited, F.pad(self.out_weight, (0, 0, 0, missing)))
        return y if self.dense is None else y + self.dense(x)

    @torch.no_grad()
    def path_mask(self, z: Tensor) -> Tensor:
        """Which nodes are visited, given all pre-activations: (..., P N) -> bool (..., P N).

        Walks to the leaf, then compares: node n (from 1) is on the path to leaf m where m, shifted right by the levels
        between them, is n.
        """
        leaf = self._walk(z).to(self.numbers.dtype)
        return ((leaf >> self.levels_below) == self.numbers).flatten(-2)

    def _walk(self, z: Tensor) -> Tensor:
        """All pre-activations (..., P N) -> (..., P, 1), the reached leaf's number among all nodes, counted from 1."""
        trees = z.unflatten(-1, (self.trees, self.nodes))
        node = torch.ones_like(trees[..., :1], dtype=torch.long)  # so that the children of n are 2n and 2n + 1
        for _ in range(self.depth):
            node = torch.add(trees.gather(-1, node - 1) > 0, node, alpha=2)  # 2 node + step in one kernel
        return node

    @torch.no_grad()
    def leaves(self, x: Tensor) -> Tensor:
        """The leaf that each tree reaches, 0 to 2^d - 1 from left to right: (..., D) -> int64 (..., P)."""
        return self._walk(F.linear(x, self.in_weight, self.in_bias)).squeeze(-1) - self.leaf_count

    def levels(self) -> dict[str, Tensor]:
        """The level of the node to which each row of a parameter belongs, the root's being 0: name -> int64 (P N)."""
        rows = torch.tensor([number.bit_length() - 1 for number in range(1, self.nodes + 1)]).repeat(self.trees)
        return dict.fromkeys(("in_weight", "in_bias", "out_weight"), rows)

    def forward_conditional(self, x: Tensor) -> Tensor:
        """Conditional form: (..., D) -> (..., D), reading P (d + 1) in-rows and out-rows for a token."""
        root = torch.arange(self.trees, device=x.device) * self.nodes
        node = torch.zeros(*x.shape[:-1], self.trees, dtype=torch.long, device=x.device)
        y = torch.zeros_like(x)
        for _ in range(self.depth + 1):
            row = root + node
            z = torch.einsum("...d,...pd->...p", x, F.embedding(row, self.in_weight)) + self.in_bias[row]
            y = y + torch.einsum("...p,...pd->...d", F.gelu(z), F.embedding(row, self.out_weight))
            node = 2 * node + 1 + (z > 0).long()
        return y if self.dense is None else y + self.dense(x)
