"""Muon for matrices, AdamW for the rest, as one optimizer.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/; at the scale of AdamW's rates: arXiv 2502.16982) steps by
the momentum of a matrix made nearly orthogonal by five Newton-Schulz iterations. `torch.optim.Muon` computes the same
one matrix after the other, hundreds of small products a step; here matrices of one shape are orthogonalised together,
and on a GPU those of other shapes with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.eager_optimizers import AdamW, EagerOptimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7
SPARE_FLOPS = 2 * 10**10
"""What a GPU computes in the time of the launches of one more batch, some 50 us."""


class Muon(EagerOptimizer):
    """Matrices by Muon with Nesterov momentum, `others` by fused AdamW; both decay their weights decoupled.

    A matrix of shape (r, c) moves by lr 0.2 sqrt(max(r, c)) times its orthogonal update, whose entries then have the
    size of AdamW's, so that one rate serves both.

    Args:
        matrices: pairs (parameter of two dimensions, number of matrices that are stacked in its rows).
        others: parameter groups for AdamW.
        lr: of both; a tensor where the step is captured in a CUDA graph.
        weight_decay: of the matrices.
    """

    def __init__(
        self,
        matrices: Iterable[tuple[nn.Parameter, int]],
        others: Sequence[dict[str, Any]],
        *,
        lr: float | Tensor,
        weight_decay: float,
        momentum: float = 0.95,
        capturable: bool = False,
    ) -> None:
        groups = [{"params": parameters, "pieces": pieces} for pieces, parameters in _alike(matrices)]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._own_groups = list(self.param_groups)
        self.adamw = AdamW(others, lr=lr, fused=True, capturable=capturable)
        self.param_groups = [*self._own_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        groups = [(group, [p for p in group["params"] if p.grad is not None]) for group in self._own_groups]
        groups = [(group, parameters) for group, parameters in groups if parameters]
        if groups:
            self._step_matrices(groups)
        self.adamw.step()

    def _step_matrices(self, groups: list[tuple[dict[str, Any], list[nn.Parameter]]]) -> None:
        """All matrices move by one rate, momentum and decay, which their groups hold in common."""
        first = groups[0][0]
        lr, momentum = first["lr"], first["momentum"]
        everyone: list[Tensor] = [p for _, parameters in groups for p in parameters]
        for p in everyone:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        grads = [p.grad for p in everyone if p.grad is not None]
        momenta = [self.state[p]["momentum_buffer"] for p in everyone]
        torch._foreach_lerp_(momenta, grads, 1 - momentum)
        ahead = iter(torch._foreach_lerp(grads, momenta, momentum))
        alike = [torch.stack([next(ahead) for _ in parameters]) for _, parameters in groups]  # (n, rows, c)
        stacks = [
            each.unflatten(1, (group["pieces"], -1)).flatten(0, 1)
            for (group, _), each in zip(groups, alike, strict=True)
        ]
        updates: list[Tensor] = []
        # on a CPU launches cost nothing
        for each, orthogonal in zip(alike, orthogonalise_all(stacks, together=stacks[0].is_cuda), strict=True):
            size = 0.2 * math.sqrt(max(orthogonal.shape[1:]))
            updates += (orthogonal.reshape(each.shape).to(each.dtype) * (-lr * size)).unbind()
        torch._foreach_mul_(everyone, 1 - lr * first["weight_decay"])
        torch._foreach_add_(everyone, updates)

    def state_dict(self) -> dict[str, Any]:
        """Momentum of the matrices, and AdamW's own."""
        everything, self.param_groups = self.param_groups, self._own_groups
        try:
            own = super().state_dict()
        finally:
            self.param_groups = everything
        return {"muon": own, "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave."""
        self.param_groups = self._own_groups
        super().load_state_dict(state_dict["muon"])
        self._own_groups = list(self.param_groups)
        self.adamw.load_state_dict(state_dict["adamw"])
        self.param_groups = [*self._own_groups, *self.adamw.param_groups]


def _alike(matrices: Iterable[tuple[nn.Parameter, int]]) -> list[tuple[int, list[nn.Parameter]]]:
    """Those of one shape and as many pieces together. Raises ValueError for what is no matrix, or no stack of equal ones."""
    alike: dict[tuple[tuple[int, ...], int], list[nn.Parameter]] = {}
    for parameter, pieces in matrices:
        if parameter.ndim != 2 or len(parameter) % pieces:
            raise ValueError(f"Muon takes matrices, and stacks of equal ones, but got {tuple(parameter.shape)}.")
        alike.setdefault((tuple(parameter.shape), pieces), []).append(parameter)
    return [(pieces, parameters) for (_, pieces), parameters in alike.items()]


def batch_shapes(matrices: Iterable[tuple[nn.Parameter, int]]) -> list[tuple[int, int, int]]:
    """The batches (n, r, c) that a GPU orthogonalises in a step of `Muon(matrices, ...)`."""
    shapes = []
    for pieces, parameters in _alike(matrices):
        rows, columns = parameters[0].shape
        shapes.append((len(parameters) * pieces, rows // pieces, columns))
    return [_filled(shapes[n] for n in batch) for batch in batches_of(shapes)]


def _filled(shapes: Iterable[Sequence[int]]) -> tuple[int, int, int]:
    """The batch that holds stacks (n, r, c), each laid wide."""
    sides = [(count, *sorted((rows, columns))) for count, rows, columns in shapes]
    return sum(side[0] for side in sides), max(side[1] for side in sides), max(side[2] for side in sides)


def orthogonalise_all(stacks: Sequence[Tensor], *, together: bool) -> list[Tensor]:
    """`orthogonalise` of each stack (n, r, c); `together` computes several stacks in one batch, as suits a GPU.

    Zero rows and columns stay zero through Newton-Schulz and change nothing else, and a transposed matrix gives the
    transposed result: so matrices of several shapes go as one batch, wide and filled up to the largest. What that
    computes too much must cost less than the launches of another batch, `SPARE_FLOPS`.
    """
    if not together:
        return [orthogonalise(stack) for stack in stacks]
    results: dict[int, Tensor] = {}
    for batch in batches_of([tuple(stack.shape) for stack in stacks]):
        wide = [stacks[n] if stacks[n].shape[1] <= stacks[n].shape[2] else stacks[n].mT for n in batch]
        filled = wide[0].new_zeros(_filled(stack.shape for stack in wide), dtype=torch.bfloat16)
        parts = filled.split([len(stack) for stack in wide])
        for part, stack in zip(parts, wide, strict=True):
            part[:, : stack.shape[1], : stack.shape[2]].copy_(stack)
        done = orthogonalise(filled).split([len(stack) for stack in wide])
        for n, part, stack in zip(batch, done, wide, strict=True):
            cut = part[:, : stack.shape[1], : stack.shape[2]]
            results[n] = cut if stacks[n].shape[1] <= stacks[n].shape[2] else cut.mT
    return [results[n] for n in range(len(stacks))]


def batches_of(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Which stacks (n, r, c) go together: the largest first, and with it all that it may carry along."""

    def flops(count: int, rows: int, columns: int) -> int:
        return ITERATIONS * count * (4 * rows * rows * columns + 2 * rows**3)

    sides = [(count, *sorted((r, c))) for count, r, c in shapes]
    left = sorted(range(len(shapes)), key=lambda n: -flops(1, *sides[n][1:]))
    batches = []
    while left:
        rows, columns = sides[left[0]][1:]
        batch = [
            n
            for n in left
            if sides[n][1] <= rows
            and sides[n][2] <= columns
            and flops(sides[n][0], rows, columns) - flops(*sides[n]) <= SPARE_FLOPS
        ]
        batches.append(batch)
        left = [n for n in left if n not in batch]
    return batches


def orthogonalise(matrices: Tensor) -> Tensor:
    """(n, r, c) to (n, r, c) in bfloat16: singular values of each matrix brought near 1, by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = _multiplied(x, x.mT)
        update = _multiplied(gram, gram, added=gram, beta=b, alpha=c)
        x = _multiplied(update, x, added=x, beta=a)
    return x.mT if tall else x


def _multiplied(
    left: Tensor, right: Tensor, *, added: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
) -> Tensor:
    """beta `added` + alpha `left` @ `right`, matrix by matrix."""
    if left.is_cuda:
        from trainer.batched_products import multiply  # Triton, which torch for CPUs has not

        return multiply(left, right, added=added, beta=beta, alpha=alpha)
    return left @ right if added is None else torch.baddbmm(added, left, right, beta=beta, alpha=alpha)
