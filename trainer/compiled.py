"""Compilation by regions: the blocks of a model are compiled, once for all of them, and nothing around them.

A model of four equal blocks costs one compile, not four; two models with equal blocks share it within a process; and
torch keeps the compiled code on disk, where the other workers of a search and later processes find it.

A trial never waits for the compiler. Where the disk has no code for its shapes yet, it starts eager, and a process of
its own (`python -m trainer.compiled`) compiles beside it; the trial looks for the result at the end of each epoch.
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


class Compilation:
    """Whether compiled code for a trial's shapes is on this machine's disk, and the process that makes it.

    Args:
        wanted: false leaves the trial eager, whatever the disk has.
    """

    def __init__(self, config: TrialConfig, *, wanted: bool) -> None:
        self._config, self._wanted = config, wanted
        self._key = _key(config) if wanted else ""

    def repays(self, images_left: int) -> bool:
        """Whether the trial should switch to compiled code now, with so many images still to be trained."""
        if not self._wanted:
            return False
        return self._key in _ready_here or (images_left >= REPAYS and _note(self._key, "ready").exists())

    def taken_up(self) -> None:
        """This process has the code loaded: the next trial of the same shapes has it for nothing."""
        _ready_here.add(self._key)

    def start_beside(self, images_left: int) -> None:
        """Have a process compile, unless the disk has the code, somebody is at it, or the trial is too short."""
        if not self._wanted or images_left < REPAYS or _note(self._key, "ready").exists():
            return
        claim = _note(self._key, "claimed")
        try:
            if time.time() - claim.stat().st_mtime < STALE_SECONDS:
                return
        except FileNotFoundError:
            pass
        claim.parent.mkdir(parents=True, exist_ok=True)
        claim.touch()
        subprocess.Popen(
            [sys.executable, "-m", "trainer.compiled", json.dumps(self._config.to_flat()), *map(str, FFN.discovered)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
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


def _note(key: str, what: str) -> Path:
    """Beside the code itself, so that who empties torch's cache removes the notes, too."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    return Path(cache_dir()) / "arbor" / f"{key}.{what}"


def compile_to_disk(config: TrialConfig) -> None:
    """Run one training step and one evaluation of compiled regions on random images, which leaves their code on disk."""
    device = torch.device("cuda", 0)
    model = config.model.build().to(device)
    compile_regions(model)
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


def compile_and_note(config: TrialConfig) -> None:
    """`compile_to_disk`, and the note by which trials of these shapes find the code from then on."""
    key = _key(config)
    try:
        compile_to_disk(config)
        _note(key, "ready").parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=_note(key, "ready").parent, delete=False) as file:
            file.write(b"compiled code for these shapes is in this folder\n")
        os.replace(file.name, _note(key, "ready"))
    finally:
        _note(key, "claimed").unlink(missing_ok=True)


def _main(flat: str, *variants: str) -> None:
    from trainer.config import TrialConfig
    from trainer.resolve import discover_variants

    discover_variants(variants)
    compile_and_note(TrialConfig.from_flat(json.loads(flat)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
