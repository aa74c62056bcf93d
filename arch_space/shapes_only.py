"""Building a module for its shapes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FEW = 2 * 10**7
"""Numbers for which memory may be asked that nobody will use."""


@contextmanager
def shapes_only(numbers: int) -> Iterator[None]:
    """Modules made while it lasts have parameters of the right shapes, with no values that mean anything.

    Many numbers lie on torch's meta device, which has no memory. It computes most functions in Python, though, and imports
    the compiler for that: two seconds, in which a process that trains one trial would do nothing else. So few of them,
    as almost always, lie in plain memory that no random numbers are drawn for.

    Args:
        numbers: about how many parameters will be made.
    """
    if numbers > FEW:
        with torch.device("meta"):
            yield
    else:
        with torch.random.fork_rng(devices=[]), _Unfilled():
            yield


class _Unfilled(TorchFunctionMode):
    """Leaves out what fills a parameter at its start."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
