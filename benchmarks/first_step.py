"""A process that trains until its first step is done, then two more trials: `python -m benchmarks.first_step JSON`."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from trainer.ahead import compile_ahead, wake_driver

PLENTY = 10**9
"""Images; a trial of so many is compiled."""


class _FirstStepError(Exception):
    """The step has finished."""


def _main(flat: str) -> None:
    wake_driver()
    compile_ahead(json.loads(flat))  # as every trial begins
    import torch

    from trainer.compiled import Compilation, compiles
    from trainer.config import TrialConfig
    from trainer.engine import device_of
    from trainer.trial import Trial

    device = device_of(torch.cuda.is_available())

    def until_first_step(config: TrialConfig) -> float:
        """The moment at which the first step was done, before anything is closed."""

        def stepped(images: int) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            raise _FirstStepError

        with tempfile.TemporaryDirectory() as folder:
            trial = Trial(config, Path(folder), device=device, threads=1, on_batch=stepped)
            with contextlib.suppress(_FirstStepError):
                next(trial.reports())
            at = time.time()
            trial.close()
        return at

    flat_config = json.loads(flat)
    same = TrialConfig.from_flat(flat_config)
    other = TrialConfig.from_flat({**flat_config, "ffn.mlp.hidden": 2 * flat_config["ffn.mlp.hidden"]})
    at = {"first_step_at": until_first_step(same)}
    for name, config in (("same", same), ("other", other)):
        began = time.time()
        at[name] = until_first_step(config) - began
    for config in (same, other):  # what compiles beside them fills the caches for who comes next, and takes cores
        Compilation(config, config.model.build(), wanted=compiles(config, device)).wait(PLENTY)
    print(json.dumps(at))


if __name__ == "__main__":
    _main(sys.argv[1])
