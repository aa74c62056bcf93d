"""The optimizer of a trial: which parameters are decayed, which are matrices for Muon, and the rate of each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.config import TrialConfig
from trainer.eager_optimizers import SGD, AdamW
from trainer.level_rates import scale_updates
from trainer.muon import Muon


def build_optimizer(model: nn.Module, config: TrialConfig, device: torch.device) -> torch.optim.Optimizer:
    """torch's own fused optimizers, which need no compiler, unlike DeepSpeed's; Muon as in `trainer.muon`.

    - adamw: arXiv 1711.05101.
    - sgd: Nesterov momentum 0.9; its weight decay is added to the gradient, as is usual.
    - muon: matrices by Muon; vectors, and what a module names in `no_weight_decay` or `no_muon`, by AdamW.

    Matrices are decayed; vectors and what a module names in `no_weight_decay` (tokens, positions) are not. The rows of a
    tree move at the rates of their levels (`trainer.level_rates`).

    Raises:
        ValueError: level rates with muon.
    """
    optimizer = _plain_optimizer(model, config, device)
    scale_updates(optimizer, model)
    return optimizer


def _plain_optimizer(model: nn.Module, config: TrialConfig, device: torch.device) -> torch.optim.Optimizer:
    on_gpu = device.type == "cuda"
    # a graph on the GPU reads the rate where it lies, so it must lie in a tensor
    lr: float | Tensor = torch.tensor(config.lr, device=device) if on_gpu else config.lr
    matrices, decayed, plain = parts_of(model, config)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((decayed, config.weight_decay), (plain, 0.0))
        if parameters
    ]
    if config.optimizer == "muon":
        return Muon(matrices, groups, lr=lr, weight_decay=config.weight_decay, capturable=on_gpu)
    if config.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)
    return AdamW(groups, lr=lr, fused=True, capturable=on_gpu)


def parts_of(
    model: nn.Module, config: TrialConfig
) -> tuple[list[tuple[nn.Parameter, int]], list[nn.Parameter], list[nn.Parameter]]:
    """Muon's matrices, each with how many are stacked in it; what else is decayed; what is not."""
    exempt, no_muon = _named(model, "no_weight_decay"), _named(model, "no_muon")
    stacked = _stacked(model)
    matrices: list[tuple[nn.Parameter, int]] = []
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or name in exempt:
            plain.append(parameter)
        elif config.optimizer == "muon" and parameter.ndim == 2 and name not in no_muon:
            matrices.append((parameter, stacked.get(name, 1)))
        else:
            decayed.append(parameter)
    return matrices, decayed, plain


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step, for all groups; without waiting for the GPU."""
    filled: set[int] = set()  # groups share a tensor until a checkpoint was loaded, and every launch costs the host
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = lr
        elif id(group["lr"]) not in filled:
            group["lr"].fill_(lr)
            filled.add(id(group["lr"]))


def _named(model: nn.Module, attribute: str) -> set[str]:
    """Full names of the parameters that modules list in this attribute of theirs."""
    return {_join(prefix, name) for prefix, module in model.named_modules() for name in getattr(module, attribute, ())}


def _stacked(model: nn.Module) -> dict[str, int]:
    """Full names of the parameters that hold several matrices in their rows, from the modules' `stacked_weights`."""
    return {
        _join(prefix, name): pieces
        for prefix, module in model.named_modules()
        for name, pieces in getattr(module, "stacked_weights", {}).items()
    }


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
