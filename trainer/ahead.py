"""What a trial's process starts before it has imported torch: compiling for the trial, and the GPU's driver.

A process that is new to the shapes of its trial would import for two seconds, then compile Triton's kernels one after the
other before its first step, and only then start those that compile its blocks. `python -m trainer.compile_ahead` does all
of it from the first moment, beside the imports (results/LOG.md, 2026-11-30). This module imports nothing that takes time.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

_REPOSITORY = str(Path(__file__).resolve().parent.parent)
_GPU = Path("/dev/nvidiactl")
"""What the driver makes, where there is one."""

_process: subprocess.Popen[bytes] | None = None


def compile_ahead(flat: Mapping[str, object], variants: Iterable[str] = ()) -> None:
    """Start it, for the trial that this machine will train first; nothing where no GPU is seen.

    Args:
        flat: the trial, also as a person gave it: what is wrong with it, others say.
    """
    global _process
    if not _sees_gpu():
        return
    _process = subprocess.Popen(
        [sys.executable, "-m", "trainer.compile_ahead", json.dumps(dict(flat)), *variants],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (_REPOSITORY, os.environ.get("PYTHONPATH"))))},
        start_new_session=True,  # Ctrl-C is the trial's: half-made code would help nobody
    )
    # else a driver that lives for days keeps a zombie
    threading.Thread(target=_process.wait, name="arbor-ahead", daemon=True).start()


def wake_driver() -> None:
    """Have CUDA's driver start up for this process, in a thread beside torch's import, for which it waits otherwise.

    Nothing of a GPU is taken: what a person asked for has not been checked yet.
    """
    if _sees_gpu():
        threading.Thread(target=_initialise, name="arbor-driver", daemon=True).start()


def _sees_gpu() -> bool:
    return _GPU.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def _initialise() -> None:
    with contextlib.suppress(OSError):  # no driver: torch says so where it matters
        ctypes.CDLL("libcuda.so.1").cuInit(0)


def compiles_ahead() -> bool:
    """Whether it is still at it."""
    return _process is not None and _process.poll() is None
