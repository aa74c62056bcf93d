"""Compilation by regions: the blocks of a model are compiled, once for all of them, and nothing around them.

A model of four equal blocks costs one compile, not four; two models with equal blocks share it within a process; and
torch keeps the compiled code on disk, where the other workers of a search and later processes find it.

A trial never waits for the compiler. Where the disk has no code for its shapes yet, it starts eager, and processes of
their own (`python -m trainer.compiled`), one for each kind of region, compile beside it; the trial looks for the result
at the end of each epoch.
"""

from __future__ import annotations

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
from torch import nn

from arch_space.auxiliary import with_auxiliary
from arch_space.execution import executing, reported_executions
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
COMPILE_THREADS = "4"
"""Of each process that compiles a region: a region has some twenty kernels."""
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
            env={**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": COMPILE_THREADS},
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


def compile_to_disk(config: TrialConfig, region: int) -> None:
    """Train one step and evaluate one batch of random images, that region compiled, which leaves its code on disk."""
    device = torch.device("cuda", 0)
    model = config.model.build().to(device)
    torch._dynamo.config.recompile_limit = SHAPES
    for module in distinct_regions(model)[region]:
        module.compile(dynamic=False)
    shape = (3, config.model.image_size, config.model.image_size)
    model.train()
    with autocast(device, config.precision):
        logits = model(torch.randn(config.micro_batch, *shape, device=device))
    with_auxiliary(logits.float().logsumexp(dim=1).mean(), model).backward()
    model.eval()
    images = torch.randn(EVALUATION_BATCH, *shape, device=device)
    with torch.no_grad(), autocast(device, config.precision):
        model(images)
        for form in reported_executions(model):
            with executing(model, form):
                model(images)
    torch.cuda.synchronize()


def _compile_and_note(config: TrialConfig, region: int) -> None:
    """`compile_to_disk`, and the note by which trials of these shapes find the code from then on."""
    key = _key(config)
    ready = _note(key, region, "ready")
    try:
        compile_to_disk(config, region)
        ready.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=ready.parent, delete=False) as file:
            file.write(b"compiled code for these shapes is in this folder\n")
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
