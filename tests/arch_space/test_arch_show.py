"""`python -m arch_space.show`: what it prints, and how it refuses."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arch_space.cost import cost
from arch_space.model import ModelConfig
from arch_space.show import app

ROOT = Path(__file__).resolve().parents[2]
runner = CliRunner()


def test_with_json_the_output_is_the_json_alone_also_as_a_command() -> None:
    command = [sys.executable, "-m", "arch_space.show", "dim=256", "ffn=fff", "ffn.fff.depth=4", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = json.loads(done.stdout)
    assert list(shown) == ["parameters", "neurons_used", "macs", "macs_conditional", "shapes"]
    config = ModelConfig.from_flat({"dim": 256, "ffn": "fff", "ffn.fff.depth": 4})
    assert shown == dataclasses.asdict(cost(config))
    assert shown["shapes"]["blocks.0.ffn.in_weight"] == [31, 256]


def test_the_table_shows_costs_and_shapes_and_every_block_s_shapes_once() -> None:
    done = runner.invoke(app, ["ffn=fff", "ffn.fff.trees=2"], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    priced = cost(ModelConfig.from_flat({"ffn": "fff", "ffn.fff.trees": 2}))
    for value in (priced.parameters, priced.neurons_used, priced.macs, priced.macs_conditional):
        assert f"{value:,}" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "blocks.*.ffn.in_weight" in line)
    assert [cell.strip() for cell in line.strip("│ ").split("│")][1:] == ["510 x 512", "4", "1,044,480"]
    assert done.stdout.count("ffn.in_weight") == 1
    assert "ffn.fff.trees=2" in done.stdout


def test_names_stay_whole_in_a_narrow_terminal() -> None:
    done = runner.invoke(app, ["layout=pair"], env={"COLUMNS": "60"})
    assert done.exit_code == 0, done.output
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ffn.fff.dept=3"], "Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?"),
        (["dimm=3"], "Unknown key 'dimm'; did you mean 'dim'?"),
        (["dim=256", "lr=0.001"], "Unknown key 'lr'; known: "),
        (["ffn=fif"], "Unknown feed-forward kind 'fif'; did you mean 'fff'?"),
        (["ffn.fff.depth=3"], "Key 'ffn.fff.depth' belongs to the feed-forward kind 'fff'"),
        (["patch=5"], 'The image size must divide by "patch", but got (image_size=32, patch=5).'),
        (["ffn.mlp.hidden=-1"], '"ffn.mlp.hidden" must be at least 1, but got -1.'),
        (["dim=1.5"], "\"dim\" must be an integer, but got '1.5'."),
        (["dim"], "Settings are written KEY=VALUE, as in dim=256, but got 'dim'."),
        (["dim=1", "dim=2"], "\"dim\" must be given once, but got '1' and '2'."),
    ],
)
def test_bad_input_exits_2_with_one_sentence_on_stderr(arguments: list[str], sentence: str) -> None:
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: {sentence}")
    assert done.stderr.count("\n") == 1


def test_help_shows_examples_and_an_unknown_option_exits_2() -> None:
    done = runner.invoke(app, ["--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    assert "python -m arch_space.show ffn=fff ffn.fff.depth=4" in done.stdout
    assert runner.invoke(app, ["--jsn"]).exit_code == 2
