"""On a GPU: what was compiled ahead, neither a trial's first step nor another process compiles again."""

import json

import pytest
import torch

from trainer.compiled import compilation_key, note
from trainer.resolve import resolve

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

FLAT = {
    "data": "digits", "patch": 8, "dim": 64, "depth": 2, "heads": 2, "batch_size": 64, "optimizer": "muon", "epochs": 1000,
}  # fmt: skip
FIRST_STEP = """
import json, sys, tempfile
from pathlib import Path
import triton
from trainer.engine import device_of
from trainer.resolve import resolve
from trainer.trial import Trial

class Stepped(Exception):
    pass

def stepped(images):
    raise Stepped

compiled = []

def listen(*, src, metadata, metadata_group, times, cache_hit):
    if not cache_hit:
        compiled.append(src.name)

triton.knobs.compilation.listener = listen
config = resolve(json.loads(sys.argv[1]), on_gpu=True)
with tempfile.TemporaryDirectory() as folder:
    trial = Trial(config, Path(folder), device=device_of(True), threads=1, on_batch=stepped)
    try:
        next(trial.reports())
    except Stepped:
        pass
    trial.close()
print(json.dumps(sorted(set(compiled))))
"""

TAKEN_UP = """
import trainer.single  # as in `python -m trainer.run`, which does not import torch itself
import json, sys, tempfile
from pathlib import Path
from trainer.engine import device_of
from trainer.resolve import resolve
from trainer.trial import Trial

config = resolve(json.loads(sys.argv[1]), on_gpu=True)
with tempfile.TemporaryDirectory() as folder:
    trial = Trial(config, Path(folder), device=device_of(True), threads=1)
    for report in trial.reports():
        if "compiled" in report.row.extra:
            break
    trial.close()
from torch._dynamo.utils import counters
print(json.dumps([counters["aot_autograd"]["autograd_cache_hit"], counters["aot_autograd"]["autograd_cache_miss"]]))
"""


def caches(folder):
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def test_a_first_step_compiles_nothing_that_was_compiled_ahead(digits, tmp_path, fresh_python):
    short = json.dumps({**FLAT, "epochs": 3})  # no blocks: what is compiled beside the step would end after it
    empty = json.loads(fresh_python("-c", FIRST_STEP, short, **caches(tmp_path / "empty")))
    assert empty == ["_attend", "_attend_backward", "_multiply"]
    fresh_python("-m", "trainer.compile_ahead", short, **caches(tmp_path / "ahead"))
    assert json.loads(fresh_python("-c", FIRST_STEP, short, **caches(tmp_path / "ahead"))) == []


def test_the_blocks_of_a_long_trial_are_compiled_once(digits, tmp_path, monkeypatch, fresh_python):
    fresh_python("-m", "trainer.compile_ahead", json.dumps(FLAT), **caches(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", caches(tmp_path)["TORCHINDUCTOR_CACHE_DIR"])
    key = compilation_key(resolve(FLAT, on_gpu=True))
    notes = [[note(key, region, what) for what in ("ready", "evaluates")] for region in range(3)]
    assert all(path.exists() for region in notes for path in region)
    assert not list(notes[0][0].parent.glob("*.claimed"))
    made = [path.stat().st_mtime_ns for region in notes for path in region]
    fresh_python("-m", "trainer.compile_ahead", json.dumps(FLAT), **caches(tmp_path))
    assert [path.stat().st_mtime_ns for region in notes for path in region] == made


def test_a_trial_takes_up_the_code_that_was_made_ahead_of_it(digits, tmp_path, fresh_python):
    fresh_python("-m", "trainer.compile_ahead", json.dumps(FLAT), **caches(tmp_path))
    hits, misses = json.loads(fresh_python("-c", TAKEN_UP, json.dumps(FLAT), **caches(tmp_path)).splitlines()[-1])
    assert hits >= 3
    assert misses == 0
