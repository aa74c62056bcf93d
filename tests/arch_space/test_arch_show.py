"""`arch_space.show`: what a variant costs, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def show(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "arch_space.show", *arguments],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False,
    )  # fmt: skip


def test_json_is_the_json_alone_with_its_five_keys():
    done = show("ffn=fff", "ffn.fff.depth=3", "layout=pair", "--json")
    answer = json.loads(done.stdout)
    assert set(answer) == {"parameters", "neurons_used", "macs", "macs_conditional", "shapes"}
    assert answer["neurons_used"] == 8
    assert answer["macs_conditional"] < answer["macs"]
    assert sum(_size(shape) for shape in answer["shapes"].values()) == answer["parameters"]


def _size(shape):
    size = 1
    for side in shape:
        size *= side
    return size


def test_people_get_a_table():
    done = show("dim=64")
    assert done.returncode == 0
    assert "parameters" in done.stdout


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ("ffn.fff.dept=3", "did you mean 'ffn.fff.depth'"),
        ("patch=5", 'The image size must divide by "patch", but got (image_size=32, patch=5).'),
        ("ffn=mpl", "mlp"),
        ("lr=0.1", "lr"),
        ("dim=many", "dim"),
        ("dim", "dim"),
    ],
)
def test_bad_keys_get_one_sentence_and_exit_2(pair, sentence):
    done = show(pair)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
