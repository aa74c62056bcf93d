"""What CONTRIBUTING.md promises: its example, one new file in a copy of the tree, passes the contract suite and trains.

The example runs in a copy and in processes of its own, so that no other test sees its kind.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGES = ("arch_space", "experiments", "results", "search", "trainer", "tests/arch_space")


def only(pattern: str) -> str:
    """The one text of the page that the pattern's group finds."""
    found = re.findall(pattern, PAGE, flags=re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{pattern} must occur once in CONTRIBUTING.md, but occurs {len(found)} times"
    return str(found[0])


def page_command(module: str) -> list[str]:
    """The arguments of the page's command `.venv/bin/python -m MODULE ...` about the example, for this interpreter."""
    command = only(rf"^    (\.venv/bin/python -m {re.escape(module)} [^\n]*squared_relu[^\n]*)$")
    return [sys.executable, *shlex.split(command)[1:]]


def run(command: list[str], folder: Path) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the page's example as its one new file."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "pyproject.toml", *ROOT.glob("tests/conftest.py")):
        shutil.copy(file, folder / file.relative_to(ROOT))
    path = folder / only(r"This is `(arch_space/ffn/\w+\.py)`, complete")
    assert not path.exists()
    path.write_text(only(r"^```python\n(.*?)^```$"), encoding="utf-8")
    return folder


def test_the_example_is_formatted_and_linted_like_the_rest(checkout: Path) -> None:
    run([sys.executable, "-m", "ruff", "format", "--check", "arch_space/ffn/squared_relu.py"], checkout)
    run([sys.executable, "-m", "ruff", "check", "arch_space/ffn/squared_relu.py"], checkout)


def test_the_example_is_found_and_priced_without_another_edit(checkout: Path) -> None:
    shown = json.loads(run([*page_command("arch_space.show"), "--json"], checkout))
    dense = json.loads(run([sys.executable, "-m", "arch_space.show", "ffn.mlp.hidden=128", "--json"], checkout))
    for key in ("parameters", "neurons_used", "macs", "macs_conditional"):
        assert shown[key] == dense[key], key  # another activation, nothing else


def test_the_example_passes_the_contract_suite(checkout: Path) -> None:
    output = run([*page_command("pytest"), "-p", "no:cacheprovider"], checkout)
    closing = output.strip().splitlines()[-1]
    assert int(re.findall(r"(\d+) passed", closing)[0]) >= 5, output
    assert "skipped" not in closing, output


def test_the_example_learns_inside_the_whole_model(checkout: Path) -> None:
    script = """
import torch
from arch_space import ModelConfig
from arch_space.initialise import initialise

flat = {"ffn": "squared_relu", "ffn.squared_relu.hidden": 16, "dim": 32, "depth": 2, "heads": 2, "patch": 8}
model = ModelConfig.from_flat(flat).build()
initialise(model, 0)
images, labels = torch.randn(8, 3, 32, 32), torch.arange(8)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
losses = []
for _ in range(20):
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert model(images).shape == (8, 10)
assert all(parameter.grad is not None for parameter in model.parameters())
print(losses[0], losses[-1])
"""
    first, last = map(float, run([sys.executable, "-c", script], checkout).split())
    assert last < first


@pytest.mark.slow
def test_the_example_trains_by_the_command_of_the_page(checkout: Path) -> None:
    run(page_command("trainer.run"), checkout)
