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
    random = torch.cuda.default_generators[torch.cuda.current_device()]
    before = random.clone_state()
    try:
        # thread_local: DALI's threads go on allocating meanwhile, which "global" would forbid
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            made = call()
    except RuntimeError:
        random.graphsafe_set_state(before)  # a recording that broke off leaves it unable to draw outside of one
        raise
    return Recording(graph, made)
