"""torch's optimizers without what they call for the compiler's sake.

The methods of `torch.optim` tell the compiler to leave them alone, and import it to say so: two seconds in which a trial
waits for code that it may never use. No optimizer is compiled here (`trainer.compiled` compiles blocks of the model), so
these call the same functions as torch wrote them, and the numbers are the same to the bit.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch


class EagerOptimizer(torch.optim.Optimizer):
    """The base of an optimizer that is never compiled; before torch's own class among the bases."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


def _step_of(optimizer: type[torch.optim.Optimizer]) -> Any:
    """Its step without gradients, as torch has it outside of its wrapper, for parameters that are not differentiable."""
    return torch.no_grad()(inspect.unwrap(optimizer.step))


class AdamW(EagerOptimizer, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step = _step_of(torch.optim.AdamW)


class SGD(EagerOptimizer, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step = _step_of(torch.optim.SGD)
