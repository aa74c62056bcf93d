"""Muon for matrices, AdamW for the rest, as one optimizer.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/; at the scale of AdamW's rates: arXiv 2502.16982) steps by
the momentum of a matrix made nearly orthogonal by five Newton-Schulz iterations. `torch.optim.Muon` computes the same
one matrix after the other, hundreds of small products a step; here matrices of one shape are orthogonalised together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
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
        alike: dict[tuple[tuple[int, ...], int], list[nn.Parameter]] = {}
        for parameter, pieces in matrices:
            if parameter.ndim != 2 or len(parameter) % pieces:
                raise ValueError(f"Muon takes matrices, and stacks of equal ones, but got {tuple(parameter.shape)}.")
            alike.setdefault((tuple(parameter.shape), pieces), []).append(parameter)
        groups = [{"params": parameters, "pieces": pieces} for (_, pieces), parameters in alike.items()]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._own_groups = list(self.param_groups)
        self.adamw = torch.optim.AdamW(others, lr=lr, fused=True, capturable=capturable)
        self.param_groups = [*self._own_groups, *self.adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        for group in self._own_groups:
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step_alike(group, parameters)
        self.adamw.step()

    def _step_alike(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        grads = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        ahead = torch.stack(torch._foreach_lerp(grads, momenta, group["momentum"]))
        pieces = ahead.unflatten(1, (group["pieces"], -1)).flatten(0, 1)  # (matrices, r, c)
        size = 0.2 * math.sqrt(max(pieces.shape[1:]))
        updates = orthogonalise(pieces).reshape(ahead.shape).to(ahead.dtype) * (-group["lr"] * size)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(updates.unbind()))

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


def orthogonalise(matrices: Tensor) -> Tensor:
    """(n, r, c) to (n, r, c) in bfloat16: singular values of each matrix brought near 1, by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, update, x, beta=a)
    return x.mT if tall else x
