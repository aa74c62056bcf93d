"""A kind whose training forward needs more memory than there is, above so many images at once."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from arch_space.registry import FFN


@FFN.register("hungry")
@dataclass(frozen=True, kw_only=True, slots=True)
class HungryConfig:
    """An identity that trains with at most `room` images at once."""

    widths: ClassVar[tuple[str, ...]] = ()
    room: int = 32

    @classmethod
    def suggest(cls, scope):
        return cls()

    def build(self, dim, dropout):
        return Hungry(self.room)

    def parameters(self, dim):
        return 0

    def neurons_used(self, dim):
        return 0

    def macs(self, dim, tokens):
        return 0

    macs_conditional = macs


class Hungry(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def forward(self, x):
        if not x.is_meta and torch.is_grad_enabled() and len(x) > self.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory. {len(x)} images do not fit.")
        return x
