"""The states of torch's random numbers, of every worker of a trial: what a resumed trial goes on drawing from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.ranks import Ranks

States = dict[str, Tensor]
"""`cpu`, and `cuda` on a GPU."""


def seed_draws(seed: int, ranks: Ranks) -> None:
    """Every rank draws numbers of its own; rank 0 those of a trial with one worker."""
    torch.manual_seed(seed + (ranks.rank << 31))


def states_of_all(ranks: Ranks, device: torch.device) -> list[States]:
    """Those of each rank, rank 0 first. Every rank calls it."""
    states: list[States] = [{"cpu": state} for state in ranks.gather(torch.get_rng_state())]
    if device.type == "cuda":
        for own, state in zip(states, ranks.gather(torch.cuda.get_rng_state(device)), strict=True):
            own["cuda"] = state
    return states


def set_states(states: Sequence[States], seed: int, epoch: int, ranks: Ranks, device: torch.device) -> None:
    """Bring this rank's back; a rank that the trial did not have before begins numbers of its own."""
    if ranks.rank >= len(states):
        torch.manual_seed(hash((seed, ranks.rank, epoch)))  # of integers: the same in every process
        return
    own = states[ranks.rank]
    torch.set_rng_state(own["cpu"].cpu())
    if "cuda" in own and device.type == "cuda":
        torch.cuda.set_rng_state(own["cuda"].cpu(), device)
