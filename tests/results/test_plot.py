"""The pictures, read back from the axes: which points are there, where they stand, what is said beside them."""

import sys
from functools import partial
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from results.errors import InputError
from results.frames import load
from results.plot import search_picture
from results.plots.catalog import figure_of
from results.plots.colouring import GREY, LONGEST
from results.plots.cost import accuracy_against, covering, pareto
from results.plots.curves import curves
from results.plots.style import COLOURS

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


def places(ax, cost):
    """Where on the screen the points of this cost stand."""
    return {float(c.lines[0].get_transform().transform((cost, 0.5))[0]) for c in ax.containers}


def test_points_that_would_cover_each_other_stand_side_by_side_and_the_axis_says_so(store):
    name = search(store)
    for layout in ("single", "pair"):
        trial(store, name, [0.5], layout=layout)
    ax = drawn(accuracy_against, store, name, "parameters")
    assert [x for x, _ in points(ax)] == [8000, 8000]
    assert len(places(ax, 8000)) == 2
    assert ax.get_xlabel() == "parameters (equal ones side by side)"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["8 k"]  # no number that no variant has


def test_points_of_equal_cost_that_are_told_apart_stand_at_their_cost(store):
    name = search(store)
    for layout, accuracy in (("single", 0.4), ("pair", 0.6)):  # bars of 0.7 points
        trial(store, name, [accuracy], layout=layout)
    ax = drawn(accuracy_against, store, name, "parameters")
    assert places(ax, 8000) == {float(ax.transData.transform((8000, 0.5))[0])}
    assert ax.get_xlabel() == "parameters"


@pytest.mark.parametrize(
    ("accuracies", "halves", "found"),
    [
        ((0.5, 0.6), (0.04, 0.04), set()),
        ((0.5, 0.6), (0.07, 0.04), {1.0}),
        ((0.5, 0.5), (None, None), {1.0}),
        ((0.5, 0.6), (None, None), set()),
        ((0.1, 0.5, 0.6), (0.6, 0.01, 0.01), {1.0}),  # one bar covers both others
    ],
)
def test_only_bars_that_meet_cover_each_other(accuracies, halves, found):
    assert covering([1.0] * len(accuracies), accuracies, halves) == found
    assert covering([float(n) for n in range(len(accuracies))], accuracies, halves) == set()


def colours(ax):
    """The colour of each curve."""
    return [to_hex(line.get_color()).upper() for line in ax.lines]


def words(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_variants_of_one_kind_have_colours_and_names_of_their_own_the_best_first(store):
    name = search(store, grid=True, seeds=(0, 1))
    for lr, accuracy in ((3e-4, 0.5), (3e-3, 0.6)):
        for seed in (0, 1):
            trial(store, name, [0.2, accuracy + seed / 100], seed=seed, ffn="fff", lr=lr)
    ax = drawn(curves, store, name)
    assert words(ax) == ["lr=0.003", "lr=0.0003"]
    assert colours(ax) == [COLOURS[1], COLOURS[1], COLOURS[0], COLOURS[0]]
    beside = drawn(accuracy_against, store, name, "parameters")
    assert words(beside) == words(ax)
    trial(store, name, [0.2, 0.4], hidden=16)
    assert words(drawn(curves, store, name)) == ["fff", "mlp"]


def test_of_many_variants_of_one_kind_the_best_are_named_and_the_rest_is_grey(store):
    name = search(store)
    for number in range(9):
        trial(
            store,
            name,
            [0.2, 0.4 + number / 100],
            lr=(1 + number) / 1000,
            hidden=1000 + number,
            a_long_name_of_a_key=number,
        )
    ax = drawn(curves, store, name)
    *named, rest = words(ax)
    assert rest == "3 other variants"
    assert [word.split()[0] for word in named] == [".9", ".8", ".7", ".6", ".5", ".4"]
    assert max(map(len, named)) <= LONGEST
    assert colours(ax) == [GREY] * 3 + list(reversed(COLOURS[:6]))


def test_a_curve_ends_hollow_while_it_may_go_on_and_rungs_are_marked(store):
    name = search(store, rungs=(1, 2))
    trial(store, name, [0.3, 0.4, 0.5])
    trial(store, name, [0.2, 0.3], status="running")
    trial(store, name, [0.1], status="stopped")
    ax = drawn(curves, store, name)
    faces = [tuple(marker.get_facecolor()[0]) for marker in ax.collections]
    assert [face == (1, 1, 1, 1) for face in faces] == [False, True, False]
    assert [text.get_text() for text in ax.texts] == ["rung 1", "rung 2"]
    assert {"stopped early", "not ended"} <= {text.get_text() for text in ax.get_legend().get_texts()}


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


def test_the_pareto_front_holds_those_that_nothing_as_cheap_beats():
    costs, accuracies = [3, 1, 2, 2, 4, 1], [0.7, 0.5, 0.6, 0.4, 0.7, 0.5]
    assert [(costs[place], accuracies[place]) for place in pareto(costs, accuracies)] == [(1, 0.5), (2, 0.6), (3, 0.7)]


def test_the_front_is_drawn_through_means_and_a_wide_cost_is_on_a_logarithmic_axis(store):
    name = search(store)
    for hidden, accuracy in ((8, 0.5), (16, 0.4), (128, 0.7)):
        trial(store, name, [accuracy], hidden=hidden)
    ax = drawn(partial(accuracy_against, front=True), store, name, "neurons_used")
    (front,) = [line for line in ax.lines if "Pareto" in str(line.get_label())]
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(8, 0.5), (128, 0.7)]
    assert ax.get_xscale() == "log"
    assert points(ax) == [(8, 0.5), (16, 0.4), (128, 0.7)]


def test_seconds_are_means_over_seeds_and_of_the_gpu_where_there_was_one(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed, seconds in ((0, 10.0), (1, 30.0)):
        store.update_trial(trial(store, name, [0.5 + seed / 10], seed=seed), wall_seconds=seconds)
    ax = figure_of(load(store.url), name, "seconds").axes[0]
    ax.figure.canvas.draw()
    assert ax.get_xlabel() == "seconds of a trial"
    assert points(ax) == [(20, pytest.approx(0.55))]
    store.update_trial(f"{name}.1", gpu_seconds=5.0)
    assert figure_of(load(store.url), name, "seconds").axes[0].get_xlabel() == "GPU-seconds of a trial"


def test_a_cost_that_no_finished_variant_has_is_refused(store):
    name = search(store)
    trial(store, name, [0.1], status="diverged")
    with pytest.raises(InputError, match=rf"against macs needs a variant that ran to its end .* but {name} has none"):
        figure_of(load(store.url), name, "macs")
