"""The picture of a tree's leaves, read back from its axes."""

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from results.errors import InputError
from results.frames import load
from results.leaf_use import leaf_use, leaf_use_picture
from results.rows import EpochRow

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def tree_trial(store, trees):
    """A trial of one epoch that says this of its trees."""
    name = trial(store, search(store), [], ffn="fff", status="running")
    row = EpochRow(
        epoch=1, train_loss=1.0, val_loss=1.0, val_acc=0.5, lr=1e-3, train_seconds=1.0, val_seconds=0.1,
        images_per_second=10.0, extra={"trees": trees},
    )  # fmt: skip
    store.commit_report(name, row, None, status="finished")
    return name


def lines(ax):
    return [list(patch.get_data().values) for patch in ax.patches if isinstance(patch, StepPatch)]


def shaded(ax):
    return [
        (patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches if not isinstance(patch, StepPatch)
    ]


def test_leaves_stand_by_rank_as_shares_and_the_dead_are_shaded():
    ax = Figure().subplots()
    leaf_use([[2, 0, 6, 0, 1, 0, 0, 1]], ax)
    assert lines(ax) == [[0.6, 0.2, 0.1, 0.1, 0, 0, 0, 0]]
    assert shaded(ax) == [(4.5, 8.5)]  # the ranks 5 to 8
    assert [line.get_ydata()[0] for line in ax.lines] == [1 / 8]


def test_every_tree_has_a_line_and_none_is_shaded_where_all_leaves_live():
    ax = Figure().subplots()
    leaf_use([[1, 3], [2, 2]], ax)
    assert lines(ax) == [[0.75, 0.25], [0.5, 0.5]]
    assert shaded(ax) == []


@pytest.mark.parametrize("modules", [1, 3, 5])
def test_a_trial_s_picture_is_written_for_any_number_of_modules(store, tmp_path, modules):
    names = [f"blocks.{number}.ffn" for number in range(modules)]
    said = {
        "leaf_visits": {name: [[3, 1, 0, 4], [2, 2, 2, 2]] for name in names},
        "modules": {name: {"leaf_entropy": 0.5, "inputs": 8} for name in names},
    }
    name = tree_trial(store, said)
    assert leaf_use_picture(load(store.url), name, tmp_path / "p.png").stat().st_size > 5000


def test_trials_without_counted_leaves_are_refused_with_the_way_out(store, tmp_path):
    dense, waiting = trial(store, search(store), [0.5]), trial(store, search(store), [], status="pending")
    large = tree_trial(store, {"dead_leaves": 0.5, "modules": {}})
    for name in (dense, waiting, large):
        with pytest.raises(InputError, match=f"Trial {name} has no count of its leaves: name one with trees"):
            leaf_use_picture(load(store.url), name, tmp_path / "p.png")
    with pytest.raises(InputError, match=r"Unknown trial 'toy-9\.9'"):
        leaf_use_picture(load(store.url), "toy-9.9", tmp_path / "p.png")
