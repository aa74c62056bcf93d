"""A process that has lost its GPU: after a fault in a kernel, each of its later calls of CUDA fails, whatever it asks.

Only another process can go on, so such a fault is none of the trial's own: nothing but a new worker tells whether it is.
"""

from __future__ import annotations

import torch


class GpuLostError(RuntimeError):
    """This process must end; its trial can go on from its checkpoint in another."""


def gpu_is_lost() -> bool:
    """Whether CUDA refuses this process everything by now. Waits for the GPU."""
    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
