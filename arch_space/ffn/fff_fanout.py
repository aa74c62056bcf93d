"""FFF with more than two ways down: a node is a group of k neurons, and the strongest one names the child.

A k-way form of the tree of "Exponentially Faster Language Modelling", arXiv 2311.10770, after cifar10deepspeed. Each of
P trees of depth d has G = (k^(d+1) - 1) / (k - 1) groups, in level order: the children of group g are k g + 1 .. k g + k.
Neuron j of group g has an in-row w (D), a bias b and an out-row v (D):

    z_gj = w_gj . x + b_gj        c_g = argmax_j z_gj        y = sum over the trees, sum over the visited groups g,
                                                                 r_g sum over j, gelu(z_gj) v_gj  [+ dense rows]

From the root, an input goes on to child c_g of group g, and so visits d + 1 groups and all k neurons of each. The argmax
is taken before GELU, which is not monotonic; of equal ones the first wins.

- `choice="hard"`: r = 1. The choice has no gradient.
- `choice="weighted"`: below the root, r is the probability of the one choice that led to the group, softmax(z_parent)[c]
  (not the product down the path, which starts at k^-d), so that the choice has a gradient. r = 1 at the root.

- Training form (`forward`): all P k G pre-activations by one matrix product, times r where visited and 0 elsewhere, one
  matrix product out.
- Conditional form (`forward_conditional`): reads the k (d + 1) visited rows of a tree and no others. Same values.

Shapes: x and y (B, T, D); in_weight and out_weight (P k G, D), in_bias (P k G), tree after tree, group after group.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.dense_rows import DenseRows
from arch_space.flat import require, require_between
from arch_space.level_rates import level_rates, require_level_lr_ratio
from arch_space.registry import FFN
from arch_space.space import Scope

LARGEST_TREE = 2**21
"""Neurons of one tree at most, those of a two-way tree of depth 19."""


@FFN.register("fff_fanout")
@dataclass(frozen=True, kw_only=True, slots=True)
class FFFFanoutConfig:
    """P trees of groups of k neurons, k-way, of depth d, side by side, outputs summed (after arXiv 2311.10770)."""

    widths: ClassVar[tuple[str, ...]] = ("trees", "dense_rows")

    fanout: int = 4
    """k, the children of a group and its neurons."""

    depth: int = 3
    """d, the number of choices on a path. 0 makes each tree one group without a choice."""

    trees: int = 1
    """P, the number of trees whose outputs are summed."""

    dense_rows: int = 0
    """Hidden units of a small dense feed-forward without biases, always on, added to the output; 0 for none."""

    choice: Literal["hard", "weighted"] = "hard"
    """hard: the choice has no gradient; weighted: a group's activations are multiplied by the probability of its choice."""

    level_lr_ratio: float = 1.0
    """The learning rate of a level over that of the level below it; see `arch_space.level_rates`."""

    level_lr_equal_mean: bool = False
    """Whether the mean rate over a tree's neurons stays `lr` at any ratio; without it the leaves' rate stays."""

    def __post_init__(self) -> None:
        require_between("fanout", self.fanout, 2, 1_024)
        deepest = next(depth for depth in range(21) if self.fanout * groups_in(self.fanout, depth + 1) > LARGEST_TREE)
        require(self.depth >= 0, "depth", "must be at least 0", self.depth)
        require(self.depth <= deepest, "depth", f"must be at most {deepest} at fanout {self.fanout}", self.depth)
        require_between("trees", self.trees, 1, 65_536)
        require_between("dense_rows", self.dense_rows, 0, 1_048_576)
        require(self.choice in ("hard", "weighted"), "choice", "must be one of hard, weighted", self.choice)
        require_level_lr_ratio(self.level_lr_ratio)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """Around the published k = 4, d = 3; up to 1,364 neurons a tree."""
        return cls(
            fanout=scope.int("fanout", 2, 4),
            depth=scope.int("depth", 1, 4),
            trees=scope.int("trees", 1, 4, log=True),
            dense_rows=scope.int("dense_rows", 0, 32, step=8),
            choice=scope.categorical("choice", ("hard", "weighted")),
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D). There is no dropout inside a tree or its dense rows."""
        return FFFFanout(dim, self)

    @property
    def neurons(self) -> int:
        """Neurons of all trees, P k (k^(d+1) - 1) / (k - 1)."""
        return self.trees * self.fanout * groups_in(self.fanout, self.depth)

    @property
    def level_rates(self) -> tuple[float, ...]:
        """The factor of the learning rate by level, root first."""
        by_level = [self.fanout ** (level + 1) for level in range(self.depth + 1)]
        return level_rates(self.depth, self.level_lr_ratio, by_level, self.level_lr_equal_mean)

    def parameters(self, dim: int) -> int:
        """An in-row, an out-row and a bias for each neuron; two rows for each dense one."""
        return self.neurons * (2 * dim + 1) + 2 * dim * self.dense_rows

    def neurons_used(self, dim: int) -> int:
        """P k (d + 1) + dense rows."""
        return self.trees * self.fanout * (self.depth + 1) + self.dense_rows

    def macs(self, dim: int, tokens: int) -> int:
        """As trained: every neuron computed, then masked."""
        return tokens * 2 * dim * (self.neurons + self.dense_rows)

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """Visited groups and dense rows only."""
        return tokens * 2 * dim * self.neurons_used(dim)


def groups_in(fanout: int, depth: int) -> int:
    """Groups of a tree, (k^(d+1) - 1) / (k - 1): the levels 0..d have k^level each."""
    return (fanout ** (depth + 1) - 1) // (fanout - 1)


ALIGNED = 64
"""Rows are padded by zeros to a multiple of this, in whole groups, on a GPU: its matrix units starve on odd sizes."""


class FFFFanout(nn.Module):
    """The trees. Start: in-rows and biases uniform within +-D^-1/2, out-rows within +-((d+1) P)^-1/2."""

    executions = ("dense", "conditional")
    roots: Tensor

    def __init__(self, dim: int, config: FFFFanoutConfig) -> None:
        super().__init__()
        self.fanout = config.fanout
        self.depth = config.depth
        self.trees = config.trees
        self.weighted = config.choice == "weighted"
        self.execution = "dense"
        self.level_rates = config.level_rates
        self.groups = groups_in(config.fanout, config.depth)
        self.leaf_count = config.fanout**config.depth
        self.in_weight = nn.Parameter(torch.empty(config.neurons, dim))
        self.in_bias = nn.Parameter(torch.empty(config.neurons))
        self.out_weight = nn.Parameter(torch.empty(config.neurons, dim))
        self.dense = DenseRows(dim, config.dense_rows) if config.dense_rows else None
        # groups are counted through all trees, so that one index finds them
        self.register_buffer("roots", self.groups * torch.arange(config.trees), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The out-rows' bound is that of a two-way tree: it does not count the k neurons of a group."""
        in_bound = self.in_weight.shape[1] ** -0.5
        out_bound = ((self.depth + 1) * self.trees) ** -0.5
        nn.init.uniform_(self.in_weight, -in_bound, in_bound)
        nn.init.uniform_(self.in_bias, -in_bound, in_bound)
        nn.init.uniform_(self.out_weight, -out_bound, out_bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D): the training form, and in evaluation the form that `execution` names."""
        if not self.training and self.execution == "conditional":
            return self.forward_conditional(x)
        missing = self._missing_rows(x)
        z = F.linear(x, F.pad(self.in_weight, (0, 0, 0, missing)), F.pad(self.in_bias, (0, missing)))
        z = z.unflatten(-1, (-1, self.fanout))
        hidden = F.gelu(z) * self.factors(z).unsqueeze(-1)
        y = torch.matmul(hidden.flatten(-2), F.pad(self.out_weight, (0, 0, 0, missing)))
        return y if self.dense is None else y + self.dense(x)

    def _missing_rows(self, x: Tensor) -> int:
        """Rows of zeros to add: to a multiple of `ALIGNED` that is whole groups, too."""
        return -len(self.in_bias) % math.lcm(ALIGNED, self.fanout) if x.is_cuda else 0

    def factors(self, z: Tensor) -> Tensor:
        """r of the visited groups and 0 of the others, given all pre-activations: (..., P G, k) -> (..., P G).

        Only what is on the paths is computed; it is then written among zeros, which costs 1/k of a mask over neurons.
        """
        visited, choices = self.walk(z)
        factors = z.new_ones(visited.shape)
        if self.weighted and self.depth:
            probabilities = take_groups(z, visited[..., : -self.trees]).softmax(-1)
            chosen = probabilities.gather(-1, choices.unsqueeze(-1)).squeeze(-1)
            factors = torch.cat((factors[..., : self.trees], chosen.to(z.dtype)), -1)
        return z.new_zeros(z.shape[:-1]).scatter(-1, visited, factors)

    @torch.no_grad()
    def walk(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The visited groups (..., (d+1) P) and the choices that led on from them (..., d P), level after level."""
        group = self.roots.expand(*z.shape[:-2], -1)
        visited, choices = [group], []
        for _ in range(self.depth):
            choice = take_groups(z, group).argmax(-1)
            group = self.child(group, choice)
            visited.append(group)
            choices.append(choice)
        return torch.cat(visited, -1), torch.cat(choices, -1) if choices else group[..., :0]

    def child(self, group: Tensor, choice: Tensor) -> Tensor:
        """Child k g + 1 + choice, where g and the child are counted from their tree's root: (..., P) -> (..., P)."""
        return self.fanout * (group - self.roots) + 1 + choice + self.roots

    def forward_conditional(self, x: Tensor) -> Tensor:
        """Conditional form: (..., D) -> (..., D), reading P k (d + 1) in-rows and out-rows for a token."""
        neurons = torch.arange(self.fanout, device=x.device)
        group = self.roots.expand(*x.shape[:-1], -1)
        y = torch.zeros_like(x)
        factor = None
        for level in range(self.depth + 1):
            rows = self.fanout * group.unsqueeze(-1) + neurons  # (..., P, k)
            z = torch.einsum("...d,...pkd->...pk", x, F.embedding(rows, self.in_weight)) + self.in_bias[rows]
            hidden = F.gelu(z) if factor is None else F.gelu(z) * factor
            y = y + torch.einsum("...pk,...pkd->...d", hidden, F.embedding(rows, self.out_weight))
            if level < self.depth:
                choice = z.argmax(-1)
                group = self.child(group, choice)
                factor = z.softmax(-1).gather(-1, choice.unsqueeze(-1)).to(z.dtype) if self.weighted else None
        return y if self.dense is None else y + self.dense(x)

    @torch.no_grad()
    def leaves(self, x: Tensor) -> Tensor:
        """The leaf that each tree reaches, from 0 to k^d - 1: (..., D) -> int64 (..., P)."""
        visited, _ = self.walk(F.linear(x, self.in_weight, self.in_bias).unflatten(-1, (-1, self.fanout)))
        return visited[..., -self.trees :] - self.roots - (self.groups - self.leaf_count)

    def levels(self) -> dict[str, Tensor]:
        """The level of each row of the parameters whose rows belong to neurons: name -> int64 (P k G)."""
        by_level = [level for level in range(self.depth + 1) for _ in range(self.fanout ** (level + 1))]
        rows = torch.tensor(by_level, device=self.in_bias.device).repeat(self.trees)
        return dict.fromkeys(("in_weight", "in_bias", "out_weight"), rows)


def take_groups(z: Tensor, groups: Tensor) -> Tensor:
    """The pre-activations of some groups: (..., P G, k) and (..., n) -> (..., n, k)."""
    return z.gather(-2, groups.unsqueeze(-1).expand(*groups.shape, z.shape[-1]))
