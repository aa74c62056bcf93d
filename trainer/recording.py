"""GPU work as a CUDA graph: recorded once, then started as one, so that Python and the launches cost nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Recording(Generic[Made]):
    """A graph, and what its replay fills: the tensors that the recorded call returned."""

    graph: torch.cuda.CUDAGraph
    made: Made


def record(call: Callable[[], Made], stream: torch.cuda.Stream) -> Recording[Made]:
    """Record all kernels that `call` launches; none of them runs before `graph.replay()`.

    Args:
        call: has run on this stream before, so that libraries have chosen their kernels.
        stream: any but the default one.
    Raises:
        RuntimeError: no recording can hold it, such as a value that is read on the host, in CUDA's words. The random
            generator is as before.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        with _recorded(graph, stream):
            made = call()
    except RuntimeError:
        # a recording that broke off leaves torch's random generator in it, unable to draw, also for older recordings;
        # one that ends well takes it out
        with _recorded(torch.cuda.CUDAGraph(), stream):
            torch.zeros(1, device=stream.device)
        raise
    return Recording(graph, made)


def _recorded(graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream) -> torch.cuda.graph:
    # thread_local: DALI's threads go on allocating meanwhile, which "global" would forbid
    return torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
