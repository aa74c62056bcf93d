"""The pictures, read back from the axes: which points are there, where they stand, what is said beside them."""

import sys
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.frames import load
from results.plot import search_picture
from results.plots.cost import accuracy_against
from results.plots.curves import curves

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def drawn(draw, store, name, *arguments):
    ax = Figure().subplots()
    draw(load(store.url), name, *arguments, ax)
    FigureCanvasAgg(ax.figure).draw()  # which is when matplotlib settles the limits
    return ax


def points(ax):
    """The middles of all error bars that lie inside the axes, in data coordinates."""
    found = []
    for container in ax.containers:
        (x,), (y,) = container.lines[0].get_data()
        assert ax.get_window_extent().contains(*container.lines[0].get_transform().transform((x, y)))
        found.append((float(x), float(y)))
    return sorted(found)


def test_every_complete_variant_has_its_mean_inside_the_axes_and_survivors_have_none(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed in (0, 1):
        trial(store, name, [0.1, 0.50 + seed / 10], seed=seed, hidden=8)
        trial(store, name, [0.1, 0.70 + seed / 10], seed=seed, hidden=16)
    trial(store, name, [0.9], seed=0, hidden=32)
    trial(store, name, [0.2], seed=1, hidden=32, status="diverged")
    ax = drawn(accuracy_against, store, name, "parameters")
    assert points(ax) == [(8000, pytest.approx(0.55)), (16000, pytest.approx(0.75))]
    assert ax.get_title() == "mean and 95 % t interval over 2 seeds; 1 without all seeds left out"


def test_points_of_equal_cost_stand_side_by_side(store):
    name = search(store)
    for layout in ("single", "pair"):
        trial(store, name, [0.5], layout=layout)
    ax = drawn(accuracy_against, store, name, "parameters")
    assert [x for x, _ in points(ax)] == [8000, 8000]
    places = {float(c.lines[0].get_transform().transform((8000, 0.5))[0]) for c in ax.containers}
    assert len(places) == 2


def test_a_curve_ends_hollow_while_it_may_go_on_and_rungs_are_marked(store):
    name = search(store, rungs=(1, 2))
    trial(store, name, [0.3, 0.4, 0.5])
    trial(store, name, [0.2, 0.3], status="running")
    trial(store, name, [0.1], status="stopped")
    ax = drawn(curves, store, name)
    faces = [tuple(marker.get_facecolor()[0]) for marker in ax.collections]
    assert [face == (1, 1, 1, 1) for face in faces] == [False, True, False]
    assert [text.get_text() for text in ax.texts] == ["rung 1", "rung 2"]
    assert {"stopped by ASHA", "not ended"} <= {text.get_text() for text in ax.get_legend().get_texts()}


@pytest.mark.parametrize("statuses", [(), ("pending",), ("failed", "pending")])
def test_a_search_without_an_epoch_has_a_picture_that_says_so(store, tmp_path, statuses):
    name = search(store)
    for status in statuses:
        trial(store, name, [], status=status)
    assert search_picture(load(store.url), name, tmp_path / "p.png").stat().st_size > 1000
    ax = drawn(curves, store, name)
    assert [text.get_text() for text in ax.texts] == ["no epoch has been recorded yet"]


def test_a_question_is_text_whatever_it_holds(store, tmp_path):
    name = store.create_search("toy", "Is $x^$ worth it, \x1b[2Jor \\$5?", {}, {})
    assert search_picture(load(store.url), name, tmp_path / "p.png").stat().st_size > 1000
