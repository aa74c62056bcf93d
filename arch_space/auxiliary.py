"""Auxiliary losses: what a module adds to the training loss, by one plain channel.

In a training forward a module may set `self.auxiliary_loss` to a tensor without dimension, already weighted, with its
gradient; otherwise it sets None. It needs no hook and no registration, works inside a compiled region (the attribute is
one more output of it) and in a recorded CUDA graph (nothing is read on the host).
"""

from torch import Tensor, nn


def auxiliary_loss(model: nn.Module) -> Tensor | None:
    """The sum of the losses that the modules have set since the last call, on the device; None where there are none.

    Takes them: they are None afterwards, since the graph behind a loss must not outlive its step (CUDA would record the
    next step on the stream of the old one) and no loss may count twice.
    """
    total = None
    for module in model.modules():
        loss = getattr(module, "auxiliary_loss", None)
        if isinstance(loss, Tensor):
            module.auxiliary_loss = None  # type: ignore[assignment]  # a plain attribute, no parameter
            total = loss if total is None else total + loss
    return total


def with_auxiliary(loss: Tensor, model: nn.Module) -> Tensor:
    """What is minimised: `loss` of the forward pass just done, plus the auxiliary losses that the modules set in it."""
    extra = auxiliary_loss(model)
    return loss if extra is None else loss + extra
