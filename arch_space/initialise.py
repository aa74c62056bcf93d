"""Seeded start of a model, module by module, so that parts which two variants share start equal."""

import hashlib

import torch
from torch import nn


def initialise(model: nn.Module, seed: int) -> None:
    """Resets every module that owns parameters, each from a random state of its own: (seed, the module's name).

    Equal names and equal shapes give equal values, whatever else is in the model. Torch's global random state is
    as before afterwards. Call it before the model moves to a GPU: the same seed is then the same start on any device.
    Raises ValueError for a module that owns parameters and has no `reset_parameters()`, or that is not on the CPU.
    """
    for name, module in model.named_modules():
        parameters = list(module.parameters(recurse=False))
        if not parameters:
            continue
        label = f"{name or 'the model'} ({type(module).__name__})"
        reset = getattr(module, "reset_parameters", None)
        if reset is None:
            raise ValueError(f"A module that owns parameters must have reset_parameters(), but {label} has none.")
        devices = {parameter.device.type for parameter in parameters}
        if devices != {"cpu"}:
            raise ValueError(f"A model must be on the CPU to be initialised, but {label} is on {', '.join(devices)}.")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(module_seed(seed, name))
            reset()


def module_seed(seed: int, name: str) -> int:
    """63 bits of sha256 over the seed and the module's dotted name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
