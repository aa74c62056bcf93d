"""Compilation by regions: the blocks of a model are compiled, once for all of them, and nothing around them.

A model of four equal blocks costs one compile, not four; two models with equal blocks share it within a process; and
torch keeps the compiled code on disk, where the other workers of a search and later processes find it.

A trial never waits for the compiler. It starts eager, and never imports the compiler if it ends soon (but DeepSpeed does,
under ZeRO). Where the disk has no code for its shapes yet, processes of their own, one for each kind of region, compile
beside it: those of `trainer.ahead`, or else `python -m trainer.compile_region`. torch's compiler, which even code from the
disk needs, is imported in a thread beside it once its steps have been recorded. Between epochs the trial looks whether both
are done. Only where an earlier trial of this process has left the code in memory does it start compiled.

To make compiled code costs seconds, and to take it up costs some, too. What a process will yet train is known of one
trial only, so it also counts what it has trained eagerly in these shapes: once that would have repaid the cost, more may
well come, and at the worst twice the cost was paid.
"""

from __future__ import annotations

import copyreg
import getpass
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from arch_space.registry import FFN
from trainer.ahead import compiles_ahead
from trainer.fingerprint import source_hash, variant_source

if TYPE_CHECKING:
    from trainer.config import TrialConfig

SHAPES = 256
"""Kinds and shapes of blocks that one process keeps compiled, before torch falls back to eager."""
REPAYS_MAKING = 600_000
"""Images for which code that the disk lacks is made, beside 13 s of eager training, of which compiled code repays half."""
REPAYS_LOADING = 200_000
"""Images for which code on the disk is taken up: loading it and recording the step anew cost 0.6 to 1.8 s, and compiled
vit_tiny trains 0.1 million images in 0.9 s less than eager (H200, results/LOG.md)."""
STALE_SECONDS = 300
"""Age at which a note that another process compiles is no longer believed."""

COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")
"""What takes seconds to import; the second is what the first imports when it compiles."""
SWITCH_SECONDS = 1e-4
"""How long its import holds the GIL while the training wants it."""


def _memory_format(name: str) -> torch.memory_format:
    return getattr(torch, name)


def _reduced(form: torch.memory_format) -> tuple[Any, tuple[str]]:
    return _memory_format, (str(form).removeprefix("torch."),)


# torch finds compiled code by a hash over pickles, and a memory format is pickled by the name of the first module loaded
# that has a global `torch`. That would be another one in a process which compiles than in one which trains.
copyreg.pickle(torch.memory_format, _reduced)

_ready_here: set[str] = set()
_trained_eagerly: dict[str, int] = defaultdict(int)


def compile_regions(model: nn.Module) -> None:
    """Compile every module whose class says `compiled_region`, in place; what is compiled happens at first use."""
    torch._dynamo.config.recompile_limit = SHAPES
    torch._dynamo.config.accumulated_recompile_limit = 4 * SHAPES
    for module in model.modules():
        if getattr(module, "compiled_region", False):
            module.compile(dynamic=False)


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """While it lasts, the compiled regions of `model` run as they are written, and nothing is compiled."""
    if any(module._compiled_call_impl is not None for module in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield  # the stance would import the compiler, which this process may never need


class CompilerImport:
    """The import of torch's compiler, in a thread, once in a process."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def done(self) -> bool:
        """Whether the compiler has been imported; the first call starts that."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._import, name="arbor-compiler")
            self._thread.start()
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Until it has been imported."""
        self.done()
        if self._thread is not None:
            self._thread.join()

    def _import(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)  # else a step that lets go of the GIL waits 5 ms to have it back, often
        try:
            for name in COMPILER:
                importlib.import_module(name)
        finally:
            sys.setswitchinterval(usual)


_compiler = CompilerImport()


def compiles(config: TrialConfig, device: torch.device) -> bool:
    """Whether a trial may be compiled: what a compiler chooses by timing it may choose differently tomorrow."""
    return device.type == "cuda" and config.compile and not config.deterministic


def repays_making(config: TrialConfig, training_images: int) -> bool:
    """Whether a new trial, on a GPU, of so many images an epoch has its code made."""
    return compiles(config, torch.device("cuda")) and config.epochs * training_images >= REPAYS_MAKING


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
        model: of that trial.
        wanted: false leaves the trial eager, whatever the disk has.
    """

    def __init__(self, config: TrialConfig, model: nn.Module, *, wanted: bool) -> None:
        self._config, self._wanted = config, wanted
        self._key = compilation_key(config) if wanted else ""
        self._regions = range(len(distinct_regions(model))) if wanted else range(0)
        self._left_to_ahead = False

    @property
    def loaded(self) -> bool:
        """Whether this process has the code in memory: it is taken up for nothing."""
        return self._wanted and self._key in _ready_here

    def repays(self, images_left: int) -> bool:
        """Whether the trial should switch to compiled code now, with so many images still to be trained.

        Where code is there or may come, the first call has the compiler imported beside the training.
        """
        if not self._wanted:
            return False
        if self.loaded:
            return True
        made = not self._missing("ready")
        if not made and self._left_to_ahead and not compiles_ahead():
            self._left_to_ahead = False
            self.start_beside(images_left)  # it failed, or compiled for other shapes
        enough = REPAYS_LOADING if made else REPAYS_MAKING
        return self._trains(images_left, enough) and _compiler.done() and made

    @property
    def made_at(self) -> float:
        """When the last of the code for training came to the disk, as `time.time`. Raises FileNotFoundError without it."""
        return max(note(self._key, region, "ready").stat().st_mtime for region in self._regions)

    @property
    def evaluates(self) -> bool:
        """Whether the code for evaluation is there, too; it is made after that for training."""
        return not self._missing("evaluates")

    def trained_eagerly(self, images: int) -> None:
        """So many more images were trained without compiled code."""
        if self._wanted:
            _trained_eagerly[self._key] += images

    def taken_up(self) -> None:
        """This process has the code loaded: the next trial of the same shapes has it for nothing."""
        _ready_here.add(self._key)

    def start_beside(self, images_left: int) -> None:
        """Have processes compile what the disk lacks and nobody is at, unless too few images are to be trained."""
        if not self._wanted or not self._trains(images_left, REPAYS_MAKING):
            return
        self._left_to_ahead = compiles_ahead()
        if not self._left_to_ahead:
            for region in self._missing("evaluates"):
                if claim(self._key, region):
                    self._start(region)

    def wait(self, images_left: int, most_seconds: float = 120) -> None:
        """Until a trial of so many images would find all that it takes up: nobody compiles these regions any more."""
        if self._wanted and self._trains(images_left, REPAYS_LOADING):
            _compiler.wait()
        end = time.monotonic() + most_seconds
        while time.monotonic() < end and (
            compiles_ahead()
            or any(note(self._key, region, "claimed").exists() for region in self._missing("evaluates"))
        ):
            time.sleep(0.2)

    def finish(self) -> None:
        """Compile what the disk lacks and wait for it. Raises RuntimeError where a region could not be compiled.

        A trial that follows in this process takes the code up after its first epoch.
        """
        children = [self._start(region) for region in self._missing("evaluates")]
        codes = [child.wait() for child in children]
        if any(codes):
            raise RuntimeError(f"The compilation beside the trial must end well, but its processes ended with {codes}.")
        _compiler.wait()

    def _trains(self, images_left: int, enough: int) -> bool:
        return images_left + _trained_eagerly[self._key] >= enough

    def _missing(self, what: str) -> list[int]:
        return [region for region in self._regions if not note(self._key, region, what).exists()]

    def _start(self, region: int) -> subprocess.Popen[bytes]:
        flat = json.dumps(self._config.to_flat())
        return subprocess.Popen(
            [sys.executable, "-m", "trainer.compile_region", flat, str(region), *map(str, FFN.discovered)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parent.parent,
            env={**os.environ, **threads_for(len(self._regions))},
            start_new_session=True,  # Ctrl-C is the trial's: half-made code would help nobody
        )


def compilation_key(config: TrialConfig) -> str:
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


def threads_for(regions: int) -> dict[str, str]:
    """The environment of the processes that compile so many regions at once: torch reads it with its compiler."""
    return {"TORCHINDUCTOR_COMPILE_THREADS": str(max(2, (os.cpu_count() or 1) // max(1, regions)))}


def claim(key: str, region: int) -> bool:
    """Whether nobody else compiles this region at the moment; from now on, the caller does."""
    claimed = note(key, region, "claimed")
    try:
        if time.time() - claimed.stat().st_mtime < STALE_SECONDS:
            return False
    except FileNotFoundError:
        pass
    claimed.parent.mkdir(parents=True, exist_ok=True)
    claimed.touch()
    return True


def note(key: str, region: int, what: str) -> Path:
    """The file that says that a region is claimed, ready, or evaluates.

    Beside the code itself, so that who empties torch's cache removes the notes, too.
    """
    return _cache_folder() / "arbor" / f"{key}.{region}.{what}"


def _cache_folder() -> Path:
    """torch's `cache_dir`, whose import is that of the whole compiler."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    if folder is None:
        try:
            user = getpass.getuser()
        except (KeyError, ModuleNotFoundError, OSError):  # a container's user without a name
            user = f"uid_{os.getuid()}"
        user = re.sub(r'[\\/:*?"<>|]', "_", user)
        folder = f"{tempfile.gettempdir()}/torchinductor_{user}"
    return Path(folder).absolute()
