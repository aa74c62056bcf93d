"""What the first trial of a process waits for on a GPU, begun in threads while Python imports, reads and builds.

On an H200's host NCCL's group takes 0.6 s, even of one process, and Triton reads and hashes all of itself, for 0.4 s, before
it finds its first compiled kernel (results/LOG.md, 2026-11-30, later).
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor

import torch
import torch.distributed as dist

from trainer.ranks import SINGLE, World, join, name_interface

_joining: Future[None] | None = None


def begin(device: torch.device) -> None:
    """Start it, once in a process; for a trial of one worker."""
    global _joining
    if device.type == "cuda" and _joining is None and not dist.is_initialized():
        set_environment(device, SINGLE)
        threads = ThreadPoolExecutor(2, thread_name_prefix="arbor-begin")
        _joining = threads.submit(join, SINGLE, "nccl")
        threads.submit(_hash_triton)
        threads.shutdown(wait=False)


def set_environment(device: torch.device, world: World) -> None:
    """What DeepSpeed, gloo and NCCL read of it: before their threads, as C's environment must not change beside a reader."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ.update(RANK=str(world.rank), LOCAL_RANK="0", WORLD_SIZE=str(world.size))  # each sees its own GPU alone
    name_interface(world)


def join_or_wait(world: World, backend: str) -> None:
    """Join the world, or wait for the thread that does.

    Raises:
        ValueError: the process is in a world of one already, and this is another.
    """
    if _joining is not None and world == SINGLE:
        _joining.result()
    else:
        join(world, backend)


def _hash_triton() -> None:
    with contextlib.suppress(ImportError):  # another version keeps it elsewhere
        from triton.runtime.cache import triton_key

        triton_key()  # keeps what it returns
