"""The DeepSpeed engine of one trial, in a process that may train many trials one after another."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainer.beginning import join_or_wait, set_environment
from trainer.config import TrialConfig
from trainer.optimizer import build_optimizer
from trainer.ranks import SINGLE, World

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


MOST_BUCKETED = 50_000_000
"""Numbers that ZeRO exchanges at once."""


def device_of(on_gpu: bool) -> torch.device:
    """The device of a trial in this process: the first GPU that it sees, or the CPU."""
    return torch.device("cuda", 0) if on_gpu else torch.device("cpu")


def set_determinism(deterministic: bool) -> None:
    """Kernels that give the same bits in every run, or an error where there is none; process-wide."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # use_deterministic_algorithms does the same, but imports the compiler to tell it: it has no part in such a trial
    torch.set_deterministic_debug_mode("error" if deterministic else "default")


_joined: World | None = None


def start_process(device: torch.device, world: World) -> None:
    """Bring up the process group and DeepSpeed, once in a process, which stays in its world as long as it lives.

    Raises:
        ValueError: the process is in another world already.
    """
    global _joined
    if _joined is not None:
        if _joined != world:
            raise ValueError(f"A process must stay in its world, but got (in={_joined}, asked={world}).")
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    set_environment(device, world)
    deepspeed = _import_deepspeed()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    join_or_wait(world, backend)
    _joined = world
    # else `initialize` sends every parameter to itself, for which NCCL would first connect this process with itself
    import_module("deepspeed.comm.torch").broadcast_comm_off(world.size == 1)
    deepspeed.init_distributed(backend, auto_mpi_discovery=False)


def _import_deepspeed() -> Any:
    """DeepSpeed, quiet, and without the C++ op that it would build for 90 seconds at first use on a CPU.

    A process killed in the middle of that build leaves a lock on which the next one hangs for ever; without the op, gloo
    does its work. Its switch is an internal name, which another version may not read.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")
        import deepspeed
    deepspeed.utils.logger.setLevel(logging.ERROR)
    # read by name, and made at the first reading: for that each op would be probed, with runs of compilers; none is used
    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}
    # on a GPU every engine would register passes of its own compiler, which is not used, and import torch's for them
    setattr(import_module("deepspeed.runtime.engine"), "is_deepcompile_supported", lambda: False)  # noqa: B010
    return deepspeed


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """DeepSpeed's import tries to link a library that we do not use, and the linker's complaint would reach the user."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123  # a device
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def build_engine(model: nn.Module, config: TrialConfig, device: torch.device, world: World = SINGLE) -> DeepSpeedEngine:
    """The model with its optimizer under a DeepSpeed engine, which averages gradients over the world.

    bf16 is autocast over fp32 weights: with `bf16.enabled` DeepSpeed would wrap the optimizer and lose the fused one.
    The learning rate and the clipping are ours (`trainer.optimizer`, `trainer.step`): DeepSpeed's stall the GPU's queue.
    Where ZeRO cuts the gradients, only DeepSpeed can clip them.
    """
    start_process(device, world)
    import deepspeed

    model = model.to(device)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=build_optimizer(model, config, device),
        config=engine_settings(config, world, sum(parameter.numel() for parameter in model.parameters())),
        dist_init_required=False,
    )
    # in a world of one it would copy all gradients to and fro, unless ZeRO takes them up there
    engine.enable_backward_allreduce = world.size > 1 or config.zero_stage > 0
    return engine


def engine_settings(config: TrialConfig, world: World, parameters: int) -> dict[str, Any]:
    """DeepSpeed's own configuration of a trial whose model has so many parameters."""
    bucket = min(parameters + parameters % 2, MOST_BUCKETED)  # ZeRO 1 and 2 refuse an odd one
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch // world.size,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.clip_norm if config.zero_stage else 0.0,  # its default is 1
        # it allocates its buckets whole, by default 2 GB each
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "zero_allow_untested_optimizer": True,  # torch's SGD is none that it lists
        "torch_autocast": {
            "enabled": config.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # else ZeRO averages the gradients of linear layers in bf16
        },
        "steps_per_print": 10**9,  # its progress lines read the loss, which would stall the queue
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},  # on by default, and waits for the GPU twice a step
    }
