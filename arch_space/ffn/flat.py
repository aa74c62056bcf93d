"""Flat: two trees whose path values come all at once, from one small Linear, and whose nodes hold output vectors alone.

One layer maps n_in values to n_out. With m = floor(log2 n_in), path rows w_l (n_in) for the levels l = 0 .. m-1, and
2^m - 1 output vectors v_n (n_out) for the nodes of a tree of m levels (children of node n: 2n + 1 left, 2n + 2 right):

    z_l = w_l . x        n_0 = 0, n_{l+1} = 2 n_l + 1 + [z_l > 0]        layer(x) = sum over the levels l, z_l v_{n_l}

There is no bias. The last value weighs the leaf's vector and chooses nothing. The feed-forward is two such layers:

    y = layer_out(gelu(layer_in(x)))  [+ dense rows]        layer_in D to H, layer_out H to D

The layer is that of cifar10deepspeed; compare a node of its own for every choice, "Exponentially Faster Language
Modelling", arXiv 2311.10770 (kind `fff`), where a level's 2^l neurons choose and here one neuron chooses for all of them.

- Training form (`forward`): the path values are scattered into a row of zeros, one column a node, and one matrix product
  with all vectors follows. A gather of the m visited vectors would compute less, but its gradient adds the tokens'
  contributions into shared rows (all tokens into the root's) by atomics or after a sort: slow, and with atomics not the
  same twice. Here both directions are matrix products, a scatter to distinct places and, backward, a gather: shapes do
  not depend on the data, so a CUDA graph can record them, and the sums have one order.
- Conditional form (`forward_conditional`): reads the visited vectors and no others. Same values.

Shapes: x and y (B, T, D); expand_path (m_in, D), expand_vectors (2^m_in - 1, H), contract_path (m_out, H),
contract_vectors (2^m_out - 1, D), in level order.
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


def levels_for(width: int) -> int:
    """m = floor(log2 width), the levels of the tree of a layer that reads `width` values."""
    return width.bit_length() - 1


@FFN.register("flat")
@dataclass(frozen=True, kw_only=True, slots=True)
class FlatConfig:
    """Two trees of output vectors, walked by the signs of a small Linear; needs a model of dim 2 or more."""

    widths: ClassVar[tuple[str, ...]] = ("hidden", "dense_rows")

    hidden: int = 256
    """H, the values between the two layers; the second tree has floor(log2 H) levels, so at least 2."""

    dense_rows: int = 0
    """Hidden units of a small dense feed-forward without biases, always on, added to the output; 0 for none."""

    def __post_init__(self) -> None:
        require_between("hidden", self.hidden, 2, 1_048_576)
        require_between("dense_rows", self.dense_rows, 0, 1_048_576)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """H and rows as `mlp` and `fff` have them, so that the kinds compare."""
        return cls(
            hidden=scope.int("hidden", 8, 1024, log=True),
            dense_rows=scope.int("dense_rows", 0, 32, step=8),
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D), no dropout, as in other trees. Raises ValueError for D = 1, which has no level."""
        if dim < 2:
            raise ValueError(
                f'"dim" must be at least 2 for the feed-forward kind flat, so that a path exists, but got {dim}.'
            )
        return Flat(dim, self.hidden, self.dense_rows)

    def parameters(self, dim: int) -> int:
        """Path rows and vectors of both layers; two rows for each dense one."""
        m_in, m_out = levels_for(dim), levels_for(self.hidden)
        expand = m_in * dim + (2**m_in - 1) * self.hidden
        contract = m_out * self.hidden + (2**m_out - 1) * dim
        return expand + contract + 2 * dim * self.dense_rows

    def neurons_used(self, dim: int) -> int:
        """m_in + m_out + dense rows: a path value and the vector that it weighs are one neuron."""
        return levels_for(dim) + levels_for(self.hidden) + self.dense_rows

    def macs(self, dim: int, tokens: int) -> int:
        """As trained: both paths, and all vectors of both trees."""
        return tokens * self.parameters(dim)

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """Both paths, the m_in + m_out visited vectors, the dense rows."""
        visited = (levels_for(dim) + levels_for(self.hidden)) * (dim + self.hidden)
        return tokens * (visited + 2 * dim * self.dense_rows)


ALIGNED = 8
"""Path rows are padded by zeros to a multiple of this on a GPU, whose matrix units need rows of whole 16 bytes."""


class Flat(nn.Module):
    """Both layers. Start: path rows as torch's Linear, uniform within +-n_in^-1/2; vectors random on the unit sphere.

    As a tree of neurons it is its first tree: `leaves` and `leaf_count` speak of that one, `levels` of both.
    """

    executions = ("dense", "conditional")
    # A vector is looked up, not multiplied by a dense activation: as with an embedding, its momentum is no matrix whose
    # singular values should be equal. The path rows are an ordinary Linear's.
    no_muon = frozenset({"expand_vectors", "contract_vectors"})

    def __init__(self, dim: int, hidden: int, dense_rows: int) -> None:
        super().__init__()
        m_in, m_out = levels_for(dim), levels_for(hidden)
        self.trees = 1
        self.leaf_count = 2 ** (m_in - 1)
        self.execution = "dense"
        self.expand_path = nn.Parameter(torch.empty(m_in, dim))
        self.expand_vectors = nn.Parameter(torch.empty(2**m_in - 1, hidden))
        self.contract_path = nn.Parameter(torch.empty(m_out, hidden))
        self.contract_vectors = nn.Parameter(torch.empty(2**m_out - 1, dim))
        self.dense = DenseRows(dim, dense_rows) if dense_rows else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Paths and vectors of both layers."""
        for path in (self.expand_path, self.contract_path):
            bound = path.shape[1] ** -0.5
            nn.init.uniform_(path, -bound, bound)
        for vectors in (self.expand_vectors, self.contract_vectors):
            nn.init.normal_(vectors)
            vectors.div_(vectors.norm(dim=1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """Training form: (B, T, D) -> (B, T, D); in evaluation mode the form that `execution` names."""
        if self.execution == "conditional" and not self.training:
            return self.forward_conditional(x)
        hidden = F.gelu(_all_vectors(x, self.expand_path, self.expand_vectors))
        y = _all_vectors(hidden, self.contract_path, self.contract_vectors)
        return y if self.dense is None else y + self.dense(x)

    def forward_conditional(self, x: Tensor) -> Tensor:
        """Conditional form: (..., D) -> (..., D), reading m_in + m_out vectors for a token."""
        hidden = F.gelu(_visited_vectors(x, self.expand_path, self.expand_vectors))
        y = _visited_vectors(hidden, self.contract_path, self.contract_vectors)
        return y if self.dense is None else y + self.dense(x)

    @torch.no_grad()
    def leaves(self, x: Tensor) -> Tensor:
        """The leaf of the first tree that each token reaches, from 0: (..., D) -> int64 (..., 1)."""
        nodes = visited_nodes(path_values(x, self.expand_path))
        return nodes[..., -1:] - (self.leaf_count - 1)

    def levels(self) -> dict[str, Tensor]:
        """Parameter -> level of each of its rows, the root's 0: int64 (rows,). A path row belongs to all of its level."""
        levels = {}
        for layer in ("expand", "contract"):
            path = getattr(self, f"{layer}_path")
            level = torch.arange(len(path), device=path.device)
            levels[f"{layer}_path"] = level
            levels[f"{layer}_vectors"] = level.repeat_interleave(1 << level)
        return levels


def path_values(x: Tensor, path: Tensor) -> Tensor:
    """z: (..., n_in) and path rows (m, n_in) -> (..., m)."""
    missing = -len(path) % ALIGNED if x.is_cuda else 0
    return F.linear(x, F.pad(path, (0, 0, 0, missing)))[..., : len(path)]


@torch.no_grad()
def visited_nodes(z: Tensor) -> Tensor:
    """Path values (..., m) -> the nodes on the path, one a level, counted from 0 in level order: int64 (..., m).

    Counted from 1, the node of level l has 1 and then the first l choices as its binary digits.
    """
    digits_left = torch.arange(z.shape[-1], 0, -1, device=z.device)
    choices = ((z > 0) * (1 << (digits_left - 1))).sum(-1, keepdim=True)
    return (((1 << z.shape[-1]) + choices) >> digits_left) - 1


def _all_vectors(x: Tensor, path: Tensor, vectors: Tensor) -> Tensor:
    """One layer in its training form: (..., n_in) -> (..., n_out)."""
    z = path_values(x, path)
    missing = 1 if x.is_cuda else 0  # 2^m columns instead of 2^m - 1: matrix units starve on odd sizes
    weights = z.new_zeros(*z.shape[:-1], len(vectors) + missing).scatter(-1, visited_nodes(z), z)
    return torch.matmul(weights, F.pad(vectors, (0, 0, 0, missing)))


def _visited_vectors(x: Tensor, path: Tensor, vectors: Tensor) -> Tensor:
    """One layer in its conditional form: (..., n_in) -> (..., n_out)."""
    z = path_values(x, path)
    levels = z.shape[-1]
    nodes, weights = visited_nodes(z).reshape(-1, levels), z.to(vectors.dtype).reshape(-1, levels)
    y = F.embedding_bag(nodes, vectors, mode="sum", per_sample_weights=weights)
    return y.reshape(*z.shape[:-1], -1).to(z.dtype)
