"""A process that trains until its first step is done, then two more trials: `python -m benchmarks.first_step JSON`."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path


class _FirstStepError(Exception):
    """The step has finished."""


def _main(flat: str) -> None:
    import torch

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

    config = json.loads(flat)
    at = {"first_step_at": until_first_step(TrialConfig.from_flat(config))}
    for name, width in (("same", config["ffn.mlp.hidden"]), ("other", 2 * config["ffn.mlp.hidden"])):
        began = time.time()
        at[name] = until_first_step(TrialConfig.from_flat({**config, "ffn.mlp.hidden": width})) - began
    print(json.dumps(at))


if __name__ == "__main__":
    _main(sys.argv[1])
