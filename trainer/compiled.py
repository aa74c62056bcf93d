"""Compilation by regions: the blocks of a model are compiled, once for all of them, and nothing around them.

A model of four equal blocks costs one compile, not four; two models with equal blocks share it within a process; and
torch keeps the compiled code on disk, where the other workers of a search and later processes find it.

A trial never waits for the compiler. Where the disk has no code for its shapes yet, it starts eager, and processes of
their own (`python -m trainer.compiled`), one for each kind of region, compile beside it; the trial looks for the result
at the end of each epoch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from arch_space.auxiliary import with_auxiliary
from arch_space.registry import FFN
from trainer.evaluation import EVALUATION_BATCH, autocast
from trainer.fingerprint import source_hash, variant_source

if TYPE_CHECKING:
    from trainer.config import TrialConfig

SHAPES = 256
"""Kinds and shapes of blocks that one process keeps compiled, before torch falls back to eager."""
REPAYS = 400_000
"""Images still to be trained for which compiled code is taken up: loading it and recording the step anew cost 2 s, and
compiled vit_tiny trains 0.1 million images in 1.0 s where eager takes 1.5 s (H100, results/LOG.md)."""
STALE_SECONDS = 300
"""Age at which a note that another process compiles is no longer believed."""

_ready_here: set[str] = set()


def compile_regions(model: nn.Module) -> None:
    """Compile every module whose class says `compiled_region`, in place; what is compiled happens at first use."""
    torch._dynamo.config.recompile_limit = SHAPES
    torch._dynamo.config.accumulated_recompile_limit = 4 * SHAPES
    for module in model.modules():
        if getattr(module, "compiled_region", False):
            module.compile(dynamic=False)


def distinct_regions(model: nn.Module) -> list[list[nn.Module]]:
    """The regions of a model, equal ones together, in the order of the model."""
    alike: dict[str, list[nn.Module]] = {}
    for module in model.modules():
        if getattr(module, "compiled_region", False):
            alike.setdefault(repr(module), []).append(module)
    return list(alike.values())


class Compilation:
    """Whether compiled code for a trial's shapes is on this machine's disk, and the processes that make it.

    Args:
        wanted: false leaves the trial eager, whatever the disk has.
    """

    def __init__(self, config: TrialConfig, *, wanted: bool) -> None:
        self._config, self._wanted = config, wanted
        self._key = _key(config) if wanted else ""
        with torch.device("meta"):
            self._regions = range(len(distinct_regions(config.model.build()))) if wanted else range(0)

    def repays(self, images_left: int) -> bool:
        """Whether the trial should switch to compiled code now, with so many images still to be trained."""
        if not self._wanted:
            return False
        return self._key in _ready_here or (images_left >= REPAYS and not self._missing())

    def taken_up(self) -> None:
        """This process has the code loaded: the next trial of the same shapes has it for nothing."""
        _ready_here.add(self._key)

    def start_beside(self, images_left: int) -> list[subprocess.Popen[bytes]]:
        """Have processes compile what the disk lacks and nobody is at, unless the trial is too short."""
        if not self._wanted or images_left < REPAYS:
            return []
        return [self._start(region) for region in self._missing() if self._claim(region)]

    def finish(self) -> None:
        """Compile what the disk lacks and wait for it. Raises RuntimeError where a region could not be compiled."""
        children = [self._start(region) for region in self._missing()]
        codes = [child.wait() for child in children]
        if any(codes):
            raise RuntimeError(f"The compilation beside the trial must end well, but its processes ended with {codes}.")

    def _missing(self) -> list[int]:
        return [region for region in self._regions if not _note(self._key, region, "ready").exists()]

    def _claim(self, region: int) -> bool:
        """Whether nobody else compiles this region at the moment; from now on, we do."""
        claim = _note(self._key, region, "claimed")
        try:
            if time.time() - claim.stat().st_mtime < STALE_SECONDS:
                return False
        except FileNotFoundError:
            pass
        claim.parent.mkdir(parents=True, exist_ok=True)
        claim.touch()
        return True

    def _start(self, region: int) -> subprocess.Popen[bytes]:
        flat = json.dumps(self._config.to_flat())
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.compiled", flat, str(region), *map(str, FFN.discovered)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            env={
                **os.environ,
                "TORCHINDUCTOR_COMPILE_THREADS": str(max(2, (os.cpu_count() or 1) // len(self._regions))),
            },
            start_new_session=True,  # Ctrl-C is the trial's: half-made code would help nobody
        )


def _key(config: TrialConfig) -> str:
    """What compiled code depends on: sources, shapes, torch and the GPU."""
    parts: list[Any] = [
        source_hash(),
        torch.__version__,
        torch.cuda.get_device_name(),
        config.precision,
        config.micro_batch,
    ]
    parts += [variant_source(type(config.model.ffn)), config.model.to_flat()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _note(key: str, region: int, what: str) -> Path:
    """Beside the code itself, so that who empties torch's cache removes the notes, too."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir()) / "arbor" / f"{key}.{region}.{what}"


def compile_to_disk(config: TrialConfig, region: int) -> dict[str, float]:
    """Run one of the region's modules forward and backward as in training, and forward as in evaluation.

    That leaves its code on disk. Nothing else of the model is compiled, and only what leads to the region is run, without
    gradient: several of these beside a trial must fit on its card. Returns the seconds of its stages.
    """
    device = torch.device("cuda", 0)
    began = time.perf_counter()
    seconds: dict[str, float] = {}

    def note(stage: str) -> None:
        torch.cuda.synchronize()
        seconds[stage] = round(time.perf_counter() - began - sum(seconds.values()), 1)

    model = config.model.build().to(device)
    module = distinct_regions(model)[region][0]
    size = config.model.image_size
    images = torch.randn(config.micro_batch, 3, size, size, device=device)
    reached = _input_of(module, model, images, config)
    x = reached.clone().requires_grad_(reached.data_ptr() != images.data_ptr())
    module.compile(dynamic=False)
    note("eager up to it")
    with autocast(device, config.precision):
        y = module(x)
    note("forward")
    with_auxiliary(y.float().mean(), module).backward()
    note("backward")
    model.eval()
    with torch.no_grad(), autocast(device, config.precision):
        module(_input_of(module, model, torch.randn(EVALUATION_BATCH, 3, size, size, device=device), config))
    note("evaluation")
    return seconds


class _ReachedError(Exception):
    """The forward pass has come to the module that was asked for."""


def _input_of(module: nn.Module, model: nn.Module, images: Tensor, config: TrialConfig) -> Tensor:
    """What `module` is given when `model` is called on the images; nothing behind it is computed."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _ReachedError

    handle = module.register_forward_pre_hook(stop)
    try:
        with (
            contextlib.suppress(_ReachedError),
            torch.compiler.set_stance("force_eager"),
            torch.no_grad(),
            autocast(images.device, config.precision),
        ):
            model(images)
    finally:
        handle.remove()
    return seen[0]


def _compile_and_note(config: TrialConfig, region: int) -> None:
    """`compile_to_disk`, and the note by which trials of these shapes find the code from then on."""
    key = _key(config)
    ready = _note(key, region, "ready")
    try:
        seconds = compile_to_disk(config, region)
        ready.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=ready.parent, delete=False) as file:
            json.dump({"compiled in": seconds}, file)
        os.replace(file.name, ready)
    finally:
        _note(key, region, "claimed").unlink(missing_ok=True)


def _main(flat: str, region: str, *variants: str) -> None:
    from trainer.config import TrialConfig
    from trainer.resolve import discover_variants

    discover_variants(variants)
    _compile_and_note(TrialConfig.from_flat(json.loads(flat)), int(region))


if __name__ == "__main__":
    _main(*sys.argv[1:])
