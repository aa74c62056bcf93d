"""`results.show` and `results.plot` as commands, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with a comparison and, later, a search under ASHA whose note tries to be more than text."""
    path = tmp_path_factory.mktemp("store")
    with new_store(path) as store:
        comparison = search(store, grid=True, seeds=(0, 1, 2))
        for hidden in (8, 16):
            for seed in range(3):
                trial(
                    store, comparison, [0.4, 0.5 + seed / 100 + hidden / 1000], seed=seed, hidden=hidden, test_acc=0.5
                )
        asha = search(store, rungs=(1, 2))
        trial(store, asha, [0.3, 0.5, 0.6], ffn="fff")
        trial(store, asha, [0.3, 0.55, 0.62], layout="pair")
        trial(store, asha, [0.2], status="stopped", hidden=9)
        trial(store, asha, [], status="failed", hidden=10)
        store.update_search(asha, status="interrupted", notes="=cmd()\x1b[2J[red]x[/red]", tags=["a"])
    return path


def command(module, *arguments, folder, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments, "--storage", f"sqlite:///{folder}/arbor.db"],
        capture_output=True, text=True, cwd=cwd or REPOSITORY, timeout=60,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "140", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def test_the_latest_search_is_shown_with_the_way_to_go_on_and_no_control_characters(folder):
    done = command("results.show", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "toy-2: Which is best?" in done.stdout
    assert "python -m search.run --resume toy-2" in done.stdout
    assert "\x1b" not in done.stdout
    assert "[red]x[/red]" in done.stdout
    assert "failed" in done.stdout


def test_json_is_the_json_alone(folder):
    answer = json.loads(command("results.show", "toy-1", "--json", folder=folder).stdout)
    assert answer["search"] == "toy-1"
    first = answer["variants"][0]
    assert (first["rank"], first["ffn.mlp.hidden"], first["seeds"]) == (1, 16, 3)
    assert first["val_acc"] == pytest.approx(0.526)
    assert len(first["trials"]) == 3


def test_csv_and_parquet_hold_every_variant(folder, tmp_path):
    for option, read in (("--csv", pd.read_csv), ("--parquet", pd.read_parquet)):
        path = tmp_path / f"table{option}"
        done = command("results.show", "toy-2", option, str(path), folder=folder)
        assert done.returncode == 0, done.stderr
        assert len(read(path)) == 4


def test_searches_are_listed(folder):
    lines = command("results.show", "--list", folder=folder).stdout.splitlines()
    assert sum("Which is best?" in line for line in lines) == 2


def test_neither_torch_nor_ray_is_needed():
    script = "import sys, results.show, results.plot; print({'torch', 'ray', 'deepspeed'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["toy-1", "toy-2"])
def test_a_picture_has_ink_in_both_panels(folder, tmp_path, name):
    path = tmp_path / "picture.png"
    done = command("results.plot", name, "-o", str(path), folder=folder)
    assert done.returncode == 0, done.stderr
    picture = Image.open(path).convert("RGB")
    assert picture.width > 1200
    for left in (0, picture.width // 2):
        colours = picture.crop((left, 0, left + picture.width // 2, picture.height)).getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 20
