"""A tree of sigmoid gates over small dense leaves: "Fast Feedforward Networks", arXiv 2308.14711.

Each of P trees of depth d has N = 2^d - 1 inner nodes in level order (children of node n: 2n + 1 left, 2n + 2 right) and
L = 2^d leaves. A node is a gate, the probability of going right; a leaf is a dense feed-forward of w hidden units:

    g_n = sigmoid(z_n), z_n = a_n . x + c_n        f_l(x) = V_l^T gelu(U_l x + b_l) + e_l      U_l, V_l (w, D); e_l (D)

    soft:  y = sum over trees and leaves, p_l f_l(x)   [+ dense rows]
           p_l = product over the nodes n above l of (g_n where l lies right of n, else 1 - g_n)
    hard:  y = sum over trees, f_l(x) for the one leaf that is reached by going right where z_n > 0

Training takes the soft form. In evaluation `execution` chooses: `dense` (hard, all leaves computed and masked),
`conditional` (hard, reading d gates and one leaf of a tree) or `soft`. Training adds two auxiliary losses:

    hardening_weight * mean over tokens, trees and nodes of the gate's entropy H(g_n), in nats      from 0 to log 2
    balance_weight   * mean over trees, 1/d * sum over nodes of u_n (2 m_n - 1)^2                   from 0 to 1

u_n = mean over tokens of p_n, the share of tokens that visit n (p_n as p_l, the product above n); m_n = the mean gate of
those visits, sum over tokens of p_n g_n / sum of p_n. The visits count as constants: a node is balanced by its own gate.
2308.14711 sums the entropies; with their mean a weight says the same at every depth and batch. The balancing is in the
spirit of arXiv 2405.16836, whose code balances the leaves, by the products of their hard and their soft shares.

Shapes: x and y (B, T, D); gate_weight (P N, D), gate_bias (P N), in_weight and out_weight (P L w, D), in_bias (P L w),
out_bias (P L, D), tree after tree.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.dense_rows import DenseRows
from arch_space.flat import require_between
from arch_space.registry import FFN
from arch_space.space import Scope


@FFN.register("fff_soft")
@dataclass(frozen=True, kw_only=True, slots=True)
class FFFSoftConfig:
    """P trees of depth d of sigmoid gates over dense leaves, soft in training, hard at inference (arXiv 2308.14711)."""

    widths: ClassVar[tuple[str, ...]] = ("leaf_width", "dense_rows")

    depth: int = 3
    """d, the number of gates on a path."""

    leaf_width: int = 32
    """w, hidden units of a leaf."""

    trees: int = 1
    """P, the number of trees whose outputs are summed."""

    dense_rows: int = 0
    """Hidden units of a small dense feed-forward without biases, always on, added to the output; 0 for none."""

    hardening_weight: float = 0.1
    """Weight of the gates' mean entropy in the loss, in each feed-forward; 0 for none."""

    balance_weight: float = 0.1
    """Weight of the gates' imbalance in the loss, in each feed-forward; 0 for none."""

    def __post_init__(self) -> None:
        require_between("depth", self.depth, 1, 16)
        require_between("leaf_width", self.leaf_width, 1, 1_048_576)
        require_between("trees", self.trees, 1, 65_536)
        require_between("dense_rows", self.dense_rows, 0, 1_048_576)
        require_between("hardening_weight", self.hardening_weight, 0, 1_000)
        require_between("balance_weight", self.balance_weight, 0, 1_000)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """Few choices over wide leaves up to many over narrow ones; the losses' weights over two decades."""
        return cls(
            depth=scope.int("depth", 1, 5),
            leaf_width=scope.int("leaf_width", 4, 64, log=True),
            trees=scope.int("trees", 1, 4, log=True),
            dense_rows=scope.int("dense_rows", 0, 32, step=8),
            hardening_weight=scope.float("hardening_weight", 0.01, 3.0, log=True),
            balance_weight=scope.float("balance_weight", 0.01, 1.0, log=True),
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D). There is no dropout inside a tree or its dense rows."""
        return FFFSoft(dim, self)

    @property
    def gates(self) -> int:
        """Inner nodes of all trees, P (2^d - 1)."""
        return self.trees * (2**self.depth - 1)

    @property
    def leaves(self) -> int:
        """Leaves of all trees, P 2^d."""
        return self.trees * 2**self.depth

    def parameters(self, dim: int) -> int:
        """A row and a bias for each gate; two matrices and two biases for each leaf; two rows for each dense one."""
        leaf = 2 * self.leaf_width * dim + self.leaf_width + dim
        return self.gates * (dim + 1) + self.leaves * leaf + 2 * dim * self.dense_rows

    def neurons_used(self, dim: int) -> int:
        """P (d + w) + dense rows: the gates and the hidden units that an input visits."""
        return self.trees * (self.depth + self.leaf_width) + self.dense_rows

    def macs(self, dim: int, tokens: int) -> int:
        """As trained: every gate and leaf, the leaves' output biases weighted, too."""
        leaf = 2 * self.leaf_width + 1
        return tokens * dim * (self.gates + self.leaves * leaf + 2 * self.dense_rows)

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """d gates and one leaf of each tree, and the dense rows."""
        return tokens * dim * (self.trees * (self.depth + 2 * self.leaf_width) + 2 * self.dense_rows)


ALIGNED = 64
"""Rows are padded by zeros to a multiple of this on a GPU: its matrix units starve on odd sizes."""
GATHERED = 2**24
"""Numbers of weights that the conditional form reads at once: more tokens than that are taken in parts."""


class FFFSoft(nn.Module):
    """The trees. Start: as torch's Linears; a leaf's way out within +-(w P)^-1/2, as P trees are summed."""

    no_weight_decay = frozenset({"out_bias"})
    executions = ("dense", "conditional", "soft")
    reported_executions = ("soft",)

    def __init__(self, dim: int, config: FFFSoftConfig) -> None:
        super().__init__()
        self.depth, self.leaf_width, self.trees = config.depth, config.leaf_width, config.trees
        self.nodes, self.leaf_count = 2**config.depth - 1, 2**config.depth
        self.hardening_weight, self.balance_weight = config.hardening_weight, config.balance_weight
        rows = config.leaves * config.leaf_width
        self.gate_weight = nn.Parameter(torch.empty(config.gates, dim))
        self.gate_bias = nn.Parameter(torch.empty(config.gates))
        self.in_weight = nn.Parameter(torch.empty(rows, dim))
        self.in_bias = nn.Parameter(torch.empty(rows))
        self.out_weight = nn.Parameter(torch.empty(rows, dim))
        self.out_bias = nn.Parameter(torch.empty(config.leaves, dim))
        self.dense = DenseRows(dim, config.dense_rows) if config.dense_rows else None
        self.stacked_weights = {"in_weight": config.leaves, "out_weight": config.leaves}
        self.execution = self.executions[0]
        self.auxiliary_loss: Tensor | None = None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within +-D^-1/2 on the way in, +-(w P)^-1/2 on the way out."""
        in_bound = self.gate_weight.shape[1] ** -0.5
        out_bound = (self.leaf_width * self.trees) ** -0.5
        for parameter in (self.gate_weight, self.gate_bias, self.in_weight, self.in_bias):
            nn.init.uniform_(parameter, -in_bound, in_bound)
        for parameter in (self.out_weight, self.out_bias):
            nn.init.uniform_(parameter, -out_bound, out_bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D): the soft form in training, else the form that `execution` names."""
        self.auxiliary_loss = None
        if not self.training and self.execution == "conditional":
            return self.forward_conditional(x)
        z, hidden = self.project(x)
        if self.training or self.execution == "soft":
            gates = z.sigmoid()
            visits, mixture = self.reach(gates)
            if self.training and (self.hardening_weight or self.balance_weight):
                self.auxiliary_loss = self.auxiliary(z, gates, visits)
        else:
            mixture = (self.walk(z)[..., None] == torch.arange(self.leaf_count, device=x.device)).flatten(-2)
        return self.mix(hidden, mixture.to(hidden.dtype), x)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All gates' z, (..., P, N) in float32 at least, and all hidden units, (..., P L w), by one product."""
        weight, bias = torch.cat((self.in_weight, self.gate_weight)), torch.cat((self.in_bias, self.gate_bias))
        missing = -len(bias) % ALIGNED if x.is_cuda else 0
        rows = F.linear(x, F.pad(weight, (0, 0, 0, missing)), F.pad(bias, (0, missing)))
        hidden, z, _ = rows.split((len(self.in_bias), len(self.gate_bias), missing), dim=-1)
        # in bfloat16 a gate near 1 would round to it, and its entropy and gradient with it
        z = z.to(torch.promote_types(z.dtype, torch.float32)).unflatten(-1, (self.trees, self.nodes))
        return z, F.gelu(hidden)

    def reach(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of reaching each node, (..., P, N), and each leaf, (..., P L), from all gates (..., P, N)."""
        here = torch.ones_like(gates[..., :1])
        above = []
        for level in range(self.depth):
            above.append(here)
            right = here * gates[..., 2**level - 1 : 2 ** (level + 1) - 1]
            here = torch.stack((here - right, right), dim=-1).flatten(-2)
        return torch.cat(above, dim=-1), here.flatten(-2)

    def auxiliary(self, z: Tensor, gates: Tensor, visits: Tensor) -> Tensor:
        """Hardening and balancing, weighted, from z, sigmoid(z) and the probabilities of visits, each (..., P, N)."""
        entropy = F.softplus(z) - gates * z
        visits = visits.detach().flatten(0, -3)
        share = visits.mean(dim=0)
        # share (2 m - 1)^2, with m = mean(visits gates) / share; a node that nobody visits weighs nothing
        excess = (visits * (2 * gates.flatten(0, -3) - 1)).mean(dim=0)
        imbalance = (excess.square() / share.clamp_min(torch.finfo(share.dtype).tiny)).sum() / (self.trees * self.depth)
        return self.hardening_weight * entropy.mean() + self.balance_weight * imbalance

    def walk(self, z: Tensor) -> Tensor:
        """The leaf that each tree reaches, (..., P, N) -> int64 (..., P)."""
        node = torch.zeros_like(z[..., :1], dtype=torch.long)
        for _ in range(self.depth):
            node = 2 * node + 1 + (z.gather(-1, node) > 0).long()
        return node.squeeze(-1) - self.nodes

    def mix(self, hidden: Tensor, mixture: Tensor, x: Tensor) -> Tensor:
        """The leaves' outputs weighted by `mixture`, (..., P L), summed; dense rows added."""
        leaves = hidden.unflatten(-1, (-1, self.leaf_width)) * mixture[..., None]
        rows = torch.cat((leaves.flatten(-2), mixture), dim=-1)
        missing = -rows.shape[-1] % ALIGNED if x.is_cuda else 0
        weight = torch.cat((self.out_weight, self.out_bias))
        y = torch.matmul(F.pad(rows, (0, missing)), F.pad(weight, (0, 0, 0, missing)))
        return y if self.dense is None else y + self.dense(x)

    def forward_conditional(self, x: Tensor) -> Tensor:
        """Conditional form: (..., D) -> (..., D), reading d gates and one leaf of a tree for a token."""
        parts = x.reshape(-1, x.shape[-1]).split(max(1, GATHERED // (self.trees * self.leaf_width * x.shape[-1])))
        y = torch.cat([self._visit(part) for part in parts]).view_as(x)
        return y if self.dense is None else y + self.dense(x)

    def _visit(self, x: Tensor) -> Tensor:
        """(M, D) -> (M, D)."""
        tree = torch.arange(self.trees, device=x.device)
        node = torch.zeros(len(x), self.trees, dtype=torch.long, device=x.device)
        for _ in range(self.depth):
            gate = tree * self.nodes + node
            z = torch.einsum("md,mpd->mp", x, F.embedding(gate, self.gate_weight)) + self.gate_bias[gate]
            node = 2 * node + 1 + (z > 0).long()
        leaf = tree * self.leaf_count + node - self.nodes
        row = leaf[..., None] * self.leaf_width + torch.arange(self.leaf_width, device=x.device)
        hidden = F.gelu(torch.einsum("md,mpwd->mpw", x, F.embedding(row, self.in_weight)) + self.in_bias[row])
        y = torch.einsum("mpw,mpwd->md", hidden, F.embedding(row, self.out_weight))
        return y + F.embedding(leaf, self.out_bias).sum(dim=1)

    @torch.no_grad()
    def leaves(self, x: Tensor) -> Tensor:
        """The leaf that each tree reaches: (..., D) -> int64 (..., P), 0 .. 2^d - 1."""
        z = F.linear(x, self.gate_weight, self.gate_bias)
        return self.walk(z.unflatten(-1, (self.trees, self.nodes)))

    def levels(self) -> dict[str, Tensor]:
        """The level of each row: a gate's depth, and d for all rows of a leaf."""
        gates = torch.tensor([number.bit_length() - 1 for number in range(1, self.nodes + 1)]).repeat(self.trees)
        leaves = ("in_weight", "in_bias", "out_weight", "out_bias")
        rows = {name: torch.full((len(getattr(self, name)),), self.depth) for name in leaves}
        return {"gate_weight": gates, "gate_bias": gates, **rows}
