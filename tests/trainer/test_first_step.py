"""A trial's first step waits for no compiler: the real thing, in a process that has imported nothing before."""

import pytest
import torch

from trainer import compiled

FIRST_STEPS = """
import sys, tempfile
from pathlib import Path
from trainer.engine import device_of
from trainer.resolve import resolve
from trainer.trial import Trial

class Stepped(Exception):
    pass

def stepped(images):
    raise Stepped

on_gpu = sys.argv[1] == "cuda"
small = {"data": "digits", "patch": 8, "dim": 32, "depth": 2, "heads": 1, "batch_size": 64, "epochs": 1000}
kinds = ("mlp", "fff", "csc", "flat", "fff_soft", "fff_fanout", "glu")
ways = [{"ffn": kind, "optimizer": name} for kind, name in zip(kinds, ("adamw", "sgd", "muon") * 3)]
ways += [{"ffn": "fff", "ffn.fff.level_lr_ratio": 0.5}, {"deterministic": True}, {"ffn": "fff_soft", "epochs": 1}]
for way in ways:
    with tempfile.TemporaryDirectory() as folder:
        config = resolve({**small, **way}, on_gpu=on_gpu)
        on_batch = stepped if config.epochs > 1 else lambda images: None  # a trial of one epoch goes to its end
        trial = Trial(config, Path(folder), device=device_of(on_gpu), threads=1, on_batch=on_batch)
        try:
            list(trial.reports())
        except Stepped:
            pass
        trial.close()
    loaded = [name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules]
    assert not loaded, (way, loaded)
print("none")
"""
GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_no_kind_and_no_optimizer_imports_the_compiler_before_the_first_step(digits, device, fresh_python):
    assert fresh_python("-c", FIRST_STEPS, device).splitlines()[-1] == "none"


def test_the_compiler_is_imported_beside_what_asks_for_it(fresh_python):
    fresh_python(
        "-c",
        "import sys\n"
        "from trainer.compiled import COMPILER, CompilerImport\n"
        "compiler = CompilerImport()\n"
        "assert not compiler.done()\n"
        "compiler.wait()\n"
        "assert compiler.done() and all(name in sys.modules for name in COMPILER)\n",
    )


@pytest.mark.parametrize("folder", [None, "relative/inductor"])
def test_notes_lie_in_the_folder_in_which_torch_keeps_compiled_code(tmp_path, monkeypatch, folder):
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", folder or "")
    if folder is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    ours = compiled.note("key", 0, "ready")
    assert ours.parents[1].samefile(cache_dir())
