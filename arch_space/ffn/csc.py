"""CSC-I: each Linear as a chain of cyclic sparse layers ("Cyclic Sparsely Connected Architectures for Compact Deep
Convolutional Neural Networks", Hosseini et al., IEEE TVLSI 29(10), 2021).

A Linear from n_in to n_out becomes L layers over N = max(n_in, n_out) units, with F weights a unit and no stored indices,
without non-linearity between them and with one bias at the end:

    repeat    u_0[i] = x[i mod n_in]                                             i = 0 .. N-1
    layer l   u_{l+1}[i] = sum over j = 0 .. F-1, w_l[i, j] u_l[(i + j F^l) mod N]      l = 0 .. L-1, F^(L-1) < N <= F^L
    fold      y[o] = bias[o] + sum over the units i with i mod n_out = o, u_L[i]    o = 0 .. n_out-1

The offsets j F^l are the digits of 0 .. F^L-1 to base F, so every unit of the last layer reads every input: by one way
each where N = F^L, by one or more elsewhere (the last layers then wrap around, and links may coincide: their weights add).
The feed-forward is y = dropout(CSC(dropout(gelu(CSC(x))))), D to H and H to D. In mode `mix` the output of another kind,
built with its defaults and side by side, is added.

- Training form (`forward`): without non-linearity between, the chain is one matrix, and it is multiplied out once for all
  tokens. M_l[i, c], the weight with which unit i of layer l reads input (i + c) mod N, is

      M_0[i, c] = w_0[i, c]        M_l[i, j F^l + c'] = w_l[i, j] M_{l-1}[(i + j F^l) mod N, c']        c' = 0 .. F^l-1

  by cyclic shifts and a batched multiply: N F^(l+1) numbers for layer l, nothing summed where N = F^L. One dense product
  then serves all tokens. Layer after layer, a token's N numbers would go through memory L times a chain for F
  multiply-adds each, which a GPU does at a small part of its speed; the dense product takes them through once, on the matrix
  units, and multiplying out costs no more with 66,560 tokens than with one.
- Sparse form (`forward_conditional`, the form `conditional`, though nothing in it depends on the input): layer after layer
  over strided views of the tokens, 2 L N F multiply-adds each. Same values.

Shapes: x and y (B, T, D); weight (L, N, F), bias (n_out).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arch_space.flat import require, require_between
from arch_space.registry import FFN, FeedForwardConfig
from arch_space.space import Scope

KIND = "csc"
LARGEST = 2**28
"""Numbers of the largest matrix that may be multiplied out, N F^L: 1 GiB in float32."""


@FFN.register(KIND)
@dataclass(frozen=True, kw_only=True, slots=True)
class CSCConfig:
    """A feed-forward of cyclic sparse chains (CSC-I, IEEE TVLSI 29(10), 2021), alone or added to another kind's."""

    widths: ClassVar[tuple[str, ...]] = ("hidden",)

    fanin: int = 8
    """F, the units that a unit reads in a layer; at most max(D, H). 8^3 = 512: in the default model no link coincides."""

    hidden: int = 256
    """H, the width between the two chains. Up to D it costs only biases: both chains have max(D, H) units."""

    mode: Literal["chain", "mix"] = "chain"
    """chain: this feed-forward alone; mix: the partner's output is added."""

    partner: str = "mlp"
    """The kind that `mix` adds, built with its defaults (its own keys cannot be set here); not read in a chain."""

    def __post_init__(self) -> None:
        require_between("fanin", self.fanin, 2, 65_536)
        require_between("hidden", self.hidden, 1, 1_048_576)
        require(self.mode in ("chain", "mix"), "mode", "must be one of chain, mix", self.mode)
        partners = [kind for kind in FFN.kinds() if kind != KIND]
        require(self.partner in partners, "partner", f"must be one of {', '.join(partners)}", self.partner)

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """Powers of two, whose own powers meet usual widths; H from 16, so that no suggested fan-in is above it."""
        return cls(
            fanin=scope.categorical("fanin", (2, 4, 8, 16)),
            hidden=scope.int("hidden", 16, 1024, log=True),
            mode=scope.categorical("mode", ("chain", "mix")),
        )

    def build(self, dim: int, dropout: float) -> nn.Module:
        """(B, T, D) -> (B, T, D). Raises ValueError for a fan-in above the number of units, for a chain too large to be
        multiplied out, and for what the partner refuses.
        """
        self._check_fit(dim)
        chain = CSC(dim, self.hidden, self.fanin, dropout)
        partner = self._partner()
        return chain if partner is None else Mix(chain, partner.build(dim, dropout))

    def parameters(self, dim: int) -> int:
        """The weights of both chains, their biases, and the partner's."""
        units = max(dim, self.hidden)
        own = 2 * layers_for(units, self.fanin) * units * self.fanin + self.hidden + dim
        partner = self._partner()
        return own if partner is None else own + partner.parameters(dim)

    def neurons_used(self, dim: int) -> int | None:
        """Not defined: between a chain's layers there are units, but no non-linearity that would make them neurons."""
        return None

    def macs(self, dim: int, tokens: int) -> int:
        """As trained: two dense products. Multiplying out, N F^L products a chain for all tokens together, sums nothing."""
        partner = self._partner()
        own = tokens * 2 * dim * self.hidden
        return own if partner is None else own + partner.macs(dim, tokens)

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """The sparse form: every weight of both chains, once a token."""
        units = max(dim, self.hidden)
        partner = self._partner()
        own = tokens * 2 * layers_for(units, self.fanin) * units * self.fanin
        return own if partner is None else own + partner.macs_conditional(dim, tokens)

    def _partner(self) -> FeedForwardConfig | None:
        return FFN.config(self.partner)() if self.mode == "mix" else None

    def _check_fit(self, dim: int) -> None:
        units = max(dim, self.hidden)
        given = f"but got (fanin={self.fanin}, dim={dim}, hidden={self.hidden})"
        if self.fanin > units:
            raise ValueError(
                f'"ffn.csc.fanin" must be at most max(dim, hidden), the units that a layer has to read from, {given}.'
            )
        if units * self.fanin ** layers_for(units, self.fanin) > LARGEST:
            raise ValueError(
                f'"ffn.csc.fanin" must fit max(dim, hidden) units so that units x fanin^layers is at most {LARGEST:,}, '
                f"{given}; take a fan-in of which a power lies just above the units, or fewer units."
            )


def layers_for(units: int, fanin: int) -> int:
    """L = ceil(log_F N), in whole numbers: the least L with F^L >= N, and at least 1."""
    count = 1
    while fanin**count < units:
        count += 1
    return count


class CSC(nn.Module):
    """Chain from D to H, GELU, dropout, chain from H to D, dropout."""

    executions = ("dense", "conditional")

    def __init__(self, dim: int, hidden: int, fanin: int, dropout: float) -> None:
        super().__init__()
        self.expand = CyclicChain(dim, hidden, fanin)
        self.contract = CyclicChain(hidden, dim, fanin)
        self.dropout = nn.Dropout(dropout)
        self.execution = "dense"

    def forward(self, x: Tensor) -> Tensor:
        """Training form: (B, T, D) -> (B, T, D); in evaluation mode the form that `execution` names."""
        if self.execution == "conditional" and not self.training:
            return self.forward_conditional(x)
        return self.dropout(self.contract(self.dropout(F.gelu(self.expand(x)))))

    def forward_conditional(self, x: Tensor) -> Tensor:
        """Sparse form: (..., D) -> (..., D), layer after layer."""
        hidden = self.dropout(F.gelu(self.expand.layer_by_layer(x)))
        return self.dropout(self.contract.layer_by_layer(hidden))


class CyclicChain(nn.Module):
    """A Linear from n_in to n_out as L cyclic sparse layers; (..., n_in) -> (..., n_out). Formulae at the top of the file.

    Start: bias 0; weights uniform with variance 1/F, in the last layer n_out / (N F), because a fold adds N / n_out units.
    Independent inputs of variance 1 then leave every layer, and the chain, with variance 1 (where n_out divides N).
    """

    # a layer's weights (N, F) are N short rows and no matrix that maps anything, so their momentum has no singular values
    no_muon = frozenset({"weight"})

    def __init__(self, n_in: int, n_out: int, fanin: int) -> None:
        super().__init__()
        self.n_in, self.n_out = n_in, n_out
        units = max(n_in, n_out)
        self.weight = nn.Parameter(torch.empty(layers_for(units, fanin), units, fanin))
        self.bias = nn.Parameter(torch.empty(n_out))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """A uniform variable within +-b has variance b^2 / 3."""
        _, units, fanin = self.weight.shape
        bound = math.sqrt(3 / fanin)
        nn.init.uniform_(self.weight, -bound, bound)
        self.weight[-1].mul_(math.sqrt(self.n_out / units))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Training form: one product with the chain's matrix."""
        return F.linear(x, self.matrix(), self.bias)

    def matrix(self) -> Tensor:
        """The chain multiplied out: (n_out, n_in)."""
        _, units, fanin = self.weight.shape
        first, *others = self.weight.unbind()
        ways = first.T  # (F^l, N): ways[c, i] is M[i, c], with which unit i reads input (i + c) mod N
        for level, weight in enumerate(others, start=1):
            ways = (cyclic_shifts(ways, fanin, fanin**level) * weight.T.unsqueeze(1)).flatten(0, 1)
        by_offset = fold(ways.T, units)
        # row i, read from offset -i on: in two copies side by side, that is N + k - i, a step of 2N - 1 from row to row
        twice = torch.cat((by_offset, by_offset), dim=1).flatten()
        by_input = twice[units:].unflatten(0, (units, 2 * units - 1))[:, :units]
        return fold(fold(by_input, self.n_in).T, self.n_out).T

    def layer_by_layer(self, x: Tensor) -> Tensor:
        """Sparse form: (..., n_in) -> (..., n_out)."""
        _, units, fanin = self.weight.shape
        x = extend(x, units)
        for level, weight in enumerate(self.weight):
            first, *others = cyclic_reads(x, fanin, fanin**level)
            x = first * weight[:, 0]
            for j, read in enumerate(others, start=1):
                x = torch.addcmul(x, read, weight[:, j])
        return fold(x, self.n_out) + self.bias


class Mix(nn.Module):
    """chain(x) + partner(x); each computes by the execution form that it is set to."""

    def __init__(self, chain: CSC, partner: nn.Module) -> None:
        super().__init__()
        self.chain = chain
        self.partner = partner

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        y: Tensor = self.chain(x) + self.partner(x)
        return y

    def forward_conditional(self, x: Tensor) -> Tensor:
        """The chain's sparse form, and the partner's conditional one where it has one."""
        conditional = getattr(self.partner, "forward_conditional", self.partner)
        y: Tensor = self.chain.forward_conditional(x) + conditional(x)
        return y


def cyclic_reads(x: Tensor, fanin: int, stride: int) -> list[Tensor]:
    """F views (..., N) of one cyclically extended x (..., N): view j has x[(i + j stride) mod N] at place i."""
    units = x.shape[-1]
    extended = extend(x, units + (fanin - 1) * stride)
    return [extended[..., j * stride : j * stride + units] for j in range(fanin)]


def cyclic_shifts(x: Tensor, fanin: int, stride: int) -> Tensor:
    """x (..., N) -> (F, ..., N), copy j having x[(i + j stride) mod N] at place i.

    By doubling: some log2 F small kernels forward and as many backward, where F views need three each for their gradients.
    """
    shifts = x.unsqueeze(0)
    while (made := len(shifts)) < fanin:
        more = shifts if 2 * made <= fanin else shifts[: fanin - made]
        shifts = torch.cat((shifts, more.roll(-made * stride, dims=-1)))
    return shifts


def extend(x: Tensor, length: int) -> Tensor:
    """(..., n) -> (..., length), repeated cyclically: place i has x[i mod n]."""
    copies, rest = divmod(length, x.shape[-1])
    pieces = [x] * copies + ([x[..., :rest]] if rest else [])
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)


def fold(x: Tensor, length: int) -> Tensor:
    """(..., n) -> (..., length), n >= length: place o has the sum of the x[i] with i mod length = o."""
    if x.shape[-1] == length:
        return x
    return F.pad(x, (0, -x.shape[-1] % length)).unflatten(-1, (-1, length)).sum(-2)
