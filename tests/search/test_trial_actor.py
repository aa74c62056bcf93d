"""The trainable as Tune's worker calls it, without Ray: what a step returns when memory does not suffice."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = """
import json, sys
from search.ray_adaptors import WORK, TrialActor
from trainer.config import TrialConfig
from trainer.dataset import load_dataset
from trainer.resolve import discover_variants, resolve

discover_variants([sys.argv[1]])
data = load_dataset("digits")

def config_of(number, room):
    flat = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 2,
            "ffn": "hungry", "ffn.hungry.room": room}
    work = {"trial": f"toy-1.{number}", "folder": f"{sys.argv[2]}/{number}", "reported": 0, "accumulation": 1,
            "data": str(data.path), "data_checksum": data.checksum, "gpus": 0, "workers": 1, "attempt": 1, "hparams": {},
            "threads": 1, "variants": []}
    return {**resolve(flat, on_gpu=False).to_flat(), WORK: work}

def steps(actor, count):
    for _ in range(count):
        result = actor.step()
        print(json.dumps({key: result[key] for key in ("out_of_memory", "epoch", "failed") if key in result}))

actor = TrialActor(config=config_of(1, 32))
steps(actor, 4)
actor.reset_config(config_of(2, 128))
steps(actor, 2)
actor.cleanup()
"""


def test_a_worker_out_of_memory_says_so_and_begins_again_finer_and_the_next_trial_begins_as_asked(tmp_path, digits):
    """In a process of its own: the kind stays registered in the one that loads it."""
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(HERE / "hungry.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert said == [{"out_of_memory": 1}, {"out_of_memory": 2}, {"epoch": 1}, {"epoch": 2}, {"epoch": 1}, {"epoch": 2}]
    assert (tmp_path / "1" / "selected.pt").exists()
    assert (tmp_path / "2" / "selected.pt").exists()
