"""A learning rate of its own for each level of a tree of neurons: exactly the update is scaled, weight decay with it.

    rate(level) = lr factor(level)        p <- p + factor(level of the row) u, where the optimizer alone gives p <- p + u

AdamW's and SGD's whole update u is proportional to the rate, so this is what they do at that rate. Scaled gradients are not:
Adam divides by their size. Which rows belong to which level a module says by `levels()`, the factors by `level_rates`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def level_rates_of(ffn_config: object) -> tuple[float, ...]:
    """The factors by level, root first, of a feed-forward config; empty where all levels learn at one rate."""
    rates: tuple[float, ...] = getattr(ffn_config, "level_rates", ())
    return rates if any(rate != 1 for rate in rates) else ()


def scale_updates(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Have every step of `optimizer` scaled row by row, where a module of `model` has level rates that are not all 1.

    Two hooks on the optimizer's step, which run wherever it is called and can be recorded with it in a CUDA graph: one
    keeps the parameters as they were, the other goes only a part of the way, or further. They need a copy of those
    parameters, and leave the optimizer's state alone. The model must be on its device already.

    Raises:
        ValueError: the optimizer is neither AdamW nor SGD.
    """
    scaled = _scaled(model)
    if not scaled:
        return
    if not isinstance(optimizer, torch.optim.AdamW | torch.optim.SGD):
        raise ValueError(f"Level rates must be used with AdamW or SGD, but got {type(optimizer).__name__}.")
    parameters: list[Tensor] = [parameter for parameter, _ in scaled]
    factors = [factor for _, factor in scaled]
    before = [torch.empty_like(parameter, requires_grad=False) for parameter in parameters]

    @torch.no_grad()
    def keep(*called: Any) -> None:
        torch._foreach_copy_(before, parameters)

    @torch.no_grad()
    def scale(*called: Any) -> None:
        torch._foreach_lerp_(before, parameters, factors)  # at a factor of 1 to the bit what the optimizer gave
        torch._foreach_copy_(parameters, before)

    optimizer.register_step_pre_hook(keep)
    optimizer.register_step_post_hook(scale)


def _scaled(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Each parameter whose rows learn at other rates, and the factors in its full shape: one launch then serves all."""
    found: list[tuple[nn.Parameter, Tensor]] = []
    made: dict[tuple[Any, ...], Tensor] = {}
    module: Any  # a tree has `levels()`
    for module in model.modules():
        rates: tuple[float, ...] = getattr(module, "level_rates", ())
        if all(rate == 1 for rate in rates):
            continue
        for name, rows in module.levels().items():
            parameter = module.get_parameter(name)
            key = (parameter.shape, parameter.dtype, rates, tuple(rows.tolist()))
            if key not in made:  # equal blocks share one
                by_row = torch.tensor(rates, dtype=parameter.dtype)[rows].to(parameter.device)
                made[key] = by_row.view(-1, *[1] * (parameter.ndim - 1)).expand_as(parameter).contiguous()
            found.append((parameter, made[key]))
    return found
