"""What a search recommends when it ends."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from search.outcome import show_results

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from recorded import new_store, search, trial


def said(store, name, folder):
    console = Console(file=io.StringIO(), width=200)
    prepared = SimpleNamespace(search_id=name, folder=folder, trials_folder=folder)
    show_results(prepared, store.url, console)
    return console.file.getvalue().partition("Next:")[2]


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def test_the_first_ranked_row_is_recommended_and_no_variant_of_which_a_seed_diverged(store, tmp_path):
    name = search(store, grid=True, seeds=(0, 1))
    trial(store, name, [0.9], seed=0, hidden=8)
    trial(store, name, [0.1], seed=1, hidden=8, status="diverged")
    for seed in (0, 1):
        trial(store, name, [0.5 + 0.01 * seed], seed=seed, hidden=16)
    after = said(store, name, tmp_path)
    assert f"-m trainer.evaluate --storage {store.url} {name}.3\n" in after
    assert f"{name}.1\n" not in after
    assert "--confirm" not in after


def test_without_a_ranked_row_no_trial_is_recommended(store, tmp_path):
    name = search(store, grid=True, seeds=(0, 1))
    trial(store, name, [0.9], seed=0)
    trial(store, name, [0.1], seed=1, status="diverged")
    after = said(store, name, tmp_path)
    assert "trainer.evaluate" not in after
    assert "results.report" in after


def test_a_search_is_to_be_confirmed(store, tmp_path):
    name = search(store)
    for hidden, accuracy in ((8, 0.5), (16, 0.7)):
        trial(store, name, [accuracy], hidden=hidden)
    after = said(store, name, tmp_path)
    assert f"trainer.replay --storage {store.url} {name}.2\n" in after
    assert f"--confirm {name}" in after
