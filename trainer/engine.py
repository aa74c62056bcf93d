"""The DeepSpeed engine of one trial, in a process that may train many trials one after another."""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn

from trainer.config import TrialConfig
from trainer.optimizer import build_optimizer

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def device_of(on_gpu: bool) -> torch.device:
    """The device of a trial in this process: the first GPU that it sees, or the CPU."""
    return torch.device("cuda", 0) if on_gpu else torch.device("cpu")


def set_determinism(deterministic: bool) -> None:
    """Kernels that give the same bits in every run, or an error where there is none; process-wide."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def start_process(device: torch.device) -> None:
    """Bring up the process group and DeepSpeed, once in a process: a world of one, without a port.

    A HashStore lives inside the process, so that trials beside each other cannot collide on an address.
    """
    if dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ.setdefault(
        "GLOO_SOCKET_IFNAME", "lo"
    )  # it listens even in a world of one; else where the host's name is
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    deepspeed = _import_deepspeed()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    atexit.register(dist.destroy_process_group)
    store = dist.HashStore()  # type: ignore[attr-defined]  # public, though not listed
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    deepspeed.init_distributed(backend, auto_mpi_discovery=False)


def _import_deepspeed() -> Any:
    """DeepSpeed, quiet, and without the C++ op that it would build for 90 seconds at first use on a CPU.

    A process killed in the middle of that build leaves a lock on which the next one hangs for ever; a world of one
    never uses the op. Its switch is an internal name, so its absence in another version is no error.
    """
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    with warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")
        import deepspeed
    deepspeed.utils.logger.setLevel(logging.ERROR)
    compatible = getattr(deepspeed.ops, "__compatible_ops__", None)
    if isinstance(compatible, dict):
        compatible["deepspeed_shm_comm"] = False
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


def build_engine(model: nn.Module, config: TrialConfig, device: torch.device) -> DeepSpeedEngine:
    """The model with its optimizer under a DeepSpeed engine (ZeRO stage 0).

    bf16 is autocast over fp32 weights: with `bf16.enabled` DeepSpeed would wrap the optimizer and lose the fused one.
    The learning rate and the clipping are ours (`trainer.optimizer`, `trainer.step`): DeepSpeed's stall the GPU's queue.
    """
    start_process(device)
    import deepspeed

    model = model.to(device)
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=build_optimizer(model, config, device),
        config=engine_settings(config),
        dist_init_required=False,
    )
    engine.enable_backward_allreduce = False  # in a world of one it would copy all gradients to and fro
    return engine


def engine_settings(config: TrialConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration of a trial."""
    return {
        "train_micro_batch_size_per_gpu": config.micro_batch,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": 0.0,  # its default is 1
        "zero_optimization": {"stage": 0},
        "torch_autocast": {"enabled": config.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,  # its progress lines read the loss, which would stall the queue
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},  # on by default, and waits for the GPU twice a step
    }
