"""A real search whose store is a real PostgreSQL."""

import subprocess
import sys
from pathlib import Path

import pytest

from results.frames import load

REPOSITORY = Path(__file__).resolve().parents[2]
EXPERIMENT = '''
from search.experiment import Experiment

def tiny() -> Experiment:
    """Does it run?"""
    return Experiment(
        base={"data": "digits", "epochs": 2, "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1},
        grid=[{"lr": 1e-3}, {"lr": 3e-3}], seeds=(0,),
    )
'''


@pytest.mark.slow
def test_a_search_keeps_its_results_in_postgresql(postgres, tmp_path):
    (tmp_path / "tiny.py").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "search.run", "tiny.py", "--no-dashboard", "--storage", postgres]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    frames = load(postgres)
    assert list(frames.trials["status"]) == ["finished", "finished"]
    assert len(frames.epochs) == 4
    assert (tmp_path / "runs" / "tiny-1" / "curves.png").exists()
