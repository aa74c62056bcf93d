"""How many paths through trees of neurons a precision turns: the leaves reached in it against those in float64.

A path is one tree's leaf for one token in one feed-forward. Rounding turns it where a choice is nearly even, and a turned
path changes what the blocks behind it see. So two shares are told: of paths that differ on the very inputs that each tree
gets in the model's own precision (what rounding does to the choices themselves), and of paths that differ from those of
the whole model computed in float64 (what a user gets).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trainer.evaluation import autocast

PART = 250
"""Images per forward pass: float64 takes memory."""


class Tree(Protocol):
    """What is asked of a feed-forward that is a tree of neurons."""

    trees: int
    leaf_count: int

    def leaves(self, x: Tensor) -> Tensor:
        """(..., D) -> int64 (..., trees)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnedPaths:
    """Shares (fractions) of paths that differ from float64."""

    images: int
    """Images that were looked at."""
    paths: int
    """Paths among them: images x tokens x feed-forwards x trees."""
    same_inputs: float
    """Differing where each tree is asked again, in float64, about the inputs that it got."""
    whole_model: float
    """Differing from the whole model in float64."""


def trees_of(model: nn.Module) -> dict[str, Any]:
    """Modules that are trees of neurons, by name: those with `trees`, `leaf_count` and `leaves(x)`."""
    parts = ("trees", "leaf_count", "leaves")
    return {name: part for name, part in model.named_modules() if all(hasattr(part, wanted) for wanted in parts)}


@torch.no_grad()
def turned_paths(model: nn.Module, images: Tensor, device: torch.device, precision: str) -> TurnedPaths | None:
    """Compare the leaves that `model`, in evaluation mode and its present execution form, reaches on `images`.

    None where it has no trees.
    """
    trees = trees_of(model)
    if not trees:
        return None
    exact = copy.deepcopy(model).double()
    exact_trees = trees_of(exact)
    paths = 0
    same = torch.zeros((), dtype=torch.int64, device=device)
    whole = torch.zeros((), dtype=torch.int64, device=device)
    for part in images.split(PART):
        reached: dict[str, Tensor] = {}
        expected: dict[str, Tensor] = {}
        again: dict[str, Tensor] = {}

        def ask(name: str, x: Tensor, reached: dict[str, Tensor], again: dict[str, Tensor]) -> None:
            reached[name] = trees[name].leaves(x)
            with torch.autocast(device.type, enabled=False):
                again[name] = exact_trees[name].leaves(x.double())

        def ask_exact(name: str, x: Tensor, expected: dict[str, Tensor]) -> None:
            expected[name] = exact_trees[name].leaves(x)

        with autocast(device, precision):
            _watch(model, trees, partial(ask, reached=reached, again=again), part)
        _watch(exact, exact_trees, partial(ask_exact, expected=expected), part.double())
        for name, leaves in reached.items():
            paths += leaves.numel()
            same += (leaves != again[name]).sum()
            whole += (leaves != expected[name]).sum()
    return TurnedPaths(
        images=len(images), paths=paths, same_inputs=same.item() / paths, whole_model=whole.item() / paths
    )


def _watch(model: nn.Module, trees: dict[str, Any], see: Callable[[str, Tensor], None], images: Tensor) -> None:
    """Run `model` on `images`; `see` is told the name of each tree and the tokens that it gets."""
    hooks = [
        tree.register_forward_pre_hook(lambda _, args, name=name: see(name, args[0])) for name, tree in trees.items()
    ]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
