"""A kind whose first training step in a folder ends in a fault of the GPU, as a kernel that reads beyond its input."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from arch_space.registry import FFN

MARK = Path("faulted")


@FFN.register("faulty")
@dataclass(frozen=True, kw_only=True, slots=True)
class FaultyConfig:
    """An identity."""

    widths: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def suggest(cls, scope):
        return cls()

    def build(self, dim, dropout):
        return Faulty()

    def parameters(self, dim):
        return 0

    def neurons_used(self, dim):
        return 0

    def macs(self, dim, tokens):
        return 0

    macs_conditional = macs


class Faulty(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def forward(self, x):
        folder = Path(__file__).parent
        if self.training and x.is_cuda and not (folder / MARK).exists():
            (folder / MARK).touch()
            return x[torch.full((len(x),), len(x), device=x.device)]
        return x
