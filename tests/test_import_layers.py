"""What import-linter cannot see: what the packages load at run time through the libraries that they use."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import importlib, pkgutil, sys

package, *unwanted = sys.argv[1:]
for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # comes with torch for GPUs, and is imported only there
                raise
loaded = [name for name in unwanted if name in sys.modules]
sys.exit(f"{package} loads {', '.join(loaded)}" if loaded else 0)
"""


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [
        ("results", ["torch", "ray", "deepspeed", "nvidia.dali", "optuna", "trainer", "search", "arch_space"]),
        ("arch_space", ["ray", "deepspeed", "nvidia.dali", "optuna", "pandas", "trainer", "search", "results"]),
        ("trainer", ["ray", "optuna", "search", "experiments"]),
        ("search", ["experiments"]),
    ],
)
def test_importing_a_package_does_not_load_what_belongs_to_another_layer(package: str, unwanted: list[str]) -> None:
    command = [sys.executable, "-c", SCRIPT, package, *unwanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
