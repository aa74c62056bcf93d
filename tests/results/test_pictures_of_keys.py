"""Pictures of searched keys, read back from their artists: what is drawn is what the frame holds."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from results.errors import InputError
from results.frames import load
from results.plots.catalog import figure_of
from results.plots.contour import best_pair, contour
from results.plots.keys import Scale, chosen, searched
from results.plots.level_effect import level_effect, rate_lines
from results.plots.parallel import ABSENT, parallel
from results.plots.points import measured, stopped, what_is_drawn
from results.plots.slices import key_slice
from results.plots.style import styles_of
from results.plots.tree_shapes import of_kind, shape_map, tree_kinds
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def mixed(store):
    """A search of two kinds: three ran to their end, one each was stopped, diverged and failed."""
    name = search(store, rungs=(1,))
    trial(store, name, [0.2, 0.80], hidden=8, lr=1e-3)
    trial(store, name, [0.2, 0.90], hidden=16, lr=1e-2)
    tree = {"ffn.fff.depth": 3, "ffn.fff.trees": 2}
    trial(store, name, [0.2, 0.70], ffn="fff", lr=2e-3, **tree)
    trial(store, name, [0.1], status="stopped", hidden=4, lr=4e-3)
    trial(store, name, [0.1], status="diverged", hidden=32, lr=8e-3)
    trial(store, name, [], status="failed", hidden=64, lr=8e-3)
    return name


def rows_of(store, name):
    table = variants(load(store.url), name, everything=True)
    return table, measured(table), stopped(table)


def points(ax, label):
    """The points of the scatters of that label, rounded."""
    offsets = [drawn.get_offsets() for drawn in ax.collections if drawn.get_label() == label]
    return sorted((round(float(x), 6), round(float(y), 6)) for part in offsets for x, y in part)


def test_scales_are_steps_for_words_logarithms_for_wide_spans_and_linear_else():
    assert Scale.of(pd.Series(["b", None, "a"])) == Scale(("a", "b"), "steps")
    assert Scale.of(pd.Series([True, False])).kind == "steps"
    assert Scale.of(pd.Series([2.0, np.nan, 5.0])) == Scale((2, 5), "linear")
    wide = Scale.of(pd.Series([1e-4, 1e-3, 1e-2]))
    assert wide.kind == "log"
    assert [wide.share(value) for value in wide.values] == pytest.approx([0, 0.5, 1])
    assert Scale.of(pd.Series([0, 32])).kind == "linear", "0 has no logarithm"


def test_ticks_name_both_ends_and_no_two_names_stand_in_one_place():
    scale = Scale.of(pd.Series(np.linspace(0.0006, 0.0076, 40)))
    named = scale.ticks(character=0.035)
    assert [named[0][0], named[-1][0]] == [0.0006, 0.0076]
    places = [(scale.share(value), len(text)) for value, text in named]
    for (left, a), (right, b) in pairwise(places):
        assert right - left > 0.035 * (a + b) / 2


def test_searched_keys_differ_in_more_than_being_there(store, mixed):
    table, rows, halted = rows_of(store, mixed)
    assert set(searched(pd.concat([rows, halted]), table.varying)) == {"ffn", "lr", "ffn.mlp.hidden"}
    assert chosen(["lr", "ffn"], ["lr"]) == ["lr"]
    with pytest.raises(InputError, match=r"Unknown searched key 'lrr'; did you mean 'lr'\?"):
        chosen(["lr", "ffn"], ["lrr"])


def test_what_is_drawn_says_that_it_is_unconfirmed_and_counts_what_is_left_out(store, mixed):
    table, rows, halted = rows_of(store, mixed)
    said = what_is_drawn(table, rows, halted)
    assert said.startswith("searched, unconfirmed")
    assert said.endswith("left out: 1 diverged, 1 failed")
    assert "1 stopped early" in what_is_drawn(table, rows)


def test_a_comparison_is_said_to_be_of_means_and_without_those_that_lack_seeds(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed in (0, 1):
        trial(store, name, [0.5 + seed / 10], seed=seed)
    trial(store, name, [0.9], seed=0, hidden=32)
    table, rows, _ = rows_of(store, name)
    assert list(rows["val_acc"]) == [pytest.approx(0.55)]
    assert what_is_drawn(table, rows) == "means over 2 seeds; left out: 1 without all seeds"


def test_parallel_lines_pass_through_the_values_of_their_variant(store, mixed):
    _, rows, halted = rows_of(store, mixed)
    ax = Figure().subplots()
    parallel(rows, ["ffn", "lr", "ffn.mlp.hidden"], ax, stopped=halted)
    lines = {
        label: [line.get_ydata() for line in ax.lines if line.get_label() == label]
        for label in ("_variant", "_stopped")
    }
    heights = sorted([list(map(float, line)) for line in lines["_variant"]], key=lambda line: line[-1])
    assert heights[0] == pytest.approx([0, np.log10(2), ABSENT, 0])
    assert heights[1] == pytest.approx([1, 0, (8 - 4) / 12, 0.5])
    assert heights[2] == pytest.approx([1, 1, 1, 1])
    assert [list(line) for line in lines["_stopped"]] == [pytest.approx([1, np.log10(4), 0])]
    assert ax.get_xticklabels()[0].get_text() == "ffn"


def test_the_axis_of_the_accuracy_is_linear_where_one_run_is_at_chance(store):
    name = search(store)
    for hidden, accuracy in ((8, 0.1), (16, 0.5), (32, 0.9)):
        trial(store, name, [accuracy], hidden=hidden)
    _, rows, _ = rows_of(store, name)
    ax = Figure().subplots()
    parallel(rows, ["ffn.mlp.hidden"], ax)
    ends = sorted(float(line.get_ydata()[-1]) for line in ax.lines if line.get_label() == "_variant")
    assert ends == pytest.approx([0, 0.5, 1])


def test_a_slice_has_a_point_for_each_variant_that_has_the_key(store, mixed):
    _, rows, halted = rows_of(store, mixed)
    ax = Figure().subplots()
    key_slice(rows, "ffn.mlp.hidden", ax, styles=styles_of(["mlp", "fff"]), stopped=halted)
    assert points(ax, "mlp") == [(8, 0.8), (16, 0.9)]
    assert points(ax, "fff") == []
    assert points(ax, "_stopped") == [(4, 0.1)]
    words = Figure().subplots()
    key_slice(rows, "ffn", words, styles=styles_of(["mlp", "fff"]), stopped=halted)
    assert points(words, "fff") == [(0, 0.7)]
    assert [text.get_text() for text in words.get_xticklabels()] == ["fff", "mlp"]
    rates = Figure().subplots()
    key_slice(rows, "lr", rates, styles=styles_of(["mlp", "fff"]), stopped=halted)
    assert rates.get_xscale() == "log"


def everything(store):
    """A search over seven kinds, each alone and in pairs, with two keys of its own."""
    name = search(store)
    kinds = ("csc", "fff", "fff_fanout", "fff_soft", "flat", "glu", "mlp")
    for place, kind in enumerate(kinds):
        for layout in ("single", "pair"):
            own = {f"ffn.{kind}.width": 4 + 4 * (layout == "pair")}
            trial(store, name, [0.5 + place / 20], ffn=kind, hidden=8 + 8 * (layout == "pair"), layout=layout, **own)
    return name


def test_each_of_fourteen_families_has_a_look_of_its_own_in_every_picture(store, tmp_path):
    kinds = ("csc", "fff", "fff_fanout", "fff_soft", "flat", "glu", "mlp")
    styles = styles_of([*kinds, *(f"{kind} pair" for kind in kinds)])
    assert len(set(styles.values())) == 14
    assert styles["mlp"][0] == styles["mlp pair"][0]
    assert len({colour for colour, _ in styles_of(kinds).values()}) == 7
    name = everything(store)
    frames = load(store.url)
    for kind in ("curves", "parameters", "slice", "parallel", "timeline", "best-so-far"):
        try:
            figure_of(frames, name, kind).savefig(tmp_path / f"{kind}.png")
        except InputError:
            assert kind in ("timeline", "best-so-far")  # made-up trials have no times
    assert "keys of fewer variants are drawn by --key" in figure_of(frames, name, "parallel").get_supxlabel()


def test_a_slice_of_rows_of_one_layout_keeps_the_looks_of_all(store):
    name = search(store)
    for layout in ("single", "pair"):
        trial(store, name, [0.5], hidden=8, layout=layout)
    for depth in (2, 3):
        trial(store, name, [0.4], ffn="fff", hidden=8, layout="pair", **{"ffn.fff.depth": depth})
    _, rows, halted = rows_of(store, name)
    ax = Figure().subplots()
    key_slice(rows, "ffn.fff.depth", ax, styles=styles_of(["mlp", "mlp pair", "fff pair"]), stopped=halted)
    assert points(ax, "fff pair") == [(2, 0.4), (3, 0.4)]


def test_contours_interpolate_between_places_and_never_beyond_them(store):
    name = search(store)
    for depth in (1, 2, 3, 4):
        for trees in (1, 2):
            trial(store, name, [0.5 + depth / 10], ffn="fff", **{"ffn.fff.depth": depth, "ffn.fff.trees": trees})
    _, rows, halted = rows_of(store, name)
    ax = Figure().subplots()
    assert contour(rows, "ffn.fff.depth", "ffn.fff.trees", ax, stopped=halted)
    assert points(ax, "_variants") == [(d, t) for d in (1, 2, 3, 4) for t in (1, 2)]
    dots = next(drawn for drawn in ax.collections if drawn.get_label() == "_variants")
    assert sorted(dots.get_array()) == pytest.approx([0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9])
    surface = ax.collections[0]
    corners = np.concatenate([path.vertices for path in surface.get_paths() if len(path.vertices)])
    assert (corners.min(axis=0) >= 1).all()
    assert (corners.max(axis=0) <= (4, 2)).all()


def test_contours_over_a_logarithmic_axis_are_straight_as_the_axis_shows_them(store):
    name = search(store)
    for lr in (1e-4, 1e-3, 1e-2, 1e-1):
        for hidden in (8, 9):
            trial(store, name, [0.9 + np.log10(lr) / 10], hidden=hidden, lr=lr)
    _, rows, _ = rows_of(store, name)
    ax = Figure().subplots()
    assert contour(rows, "lr", "ffn.mlp.hidden", ax)
    assert ax.get_xscale() == "log"
    lines = ax.collections[1]  # accuracy is linear in the logarithm, and so is the place of each level
    crossings = [float(path.vertices[:, 0].mean()) for path in lines.get_paths() if len(path.vertices)]
    assert len(crossings) >= 8
    assert crossings == pytest.approx(list(10 * (np.linspace(0.5, 0.8, 10) - 0.9))[-len(crossings) :], abs=1e-6)


def test_few_places_or_a_line_of_them_have_points_and_no_contours(store):
    name = search(store)
    for number in range(1, 9):
        trial(store, name, [0.5], ffn="fff", **{"ffn.fff.depth": number, "ffn.fff.trees": number})
    _, rows, _ = rows_of(store, name)
    for part in (rows.iloc[:3], rows):
        ax = Figure().subplots()
        assert not contour(part, "ffn.fff.depth", "ffn.fff.trees", ax)
        assert len(points(ax, "_variants")) == len(part)


def test_the_pair_of_a_contour_is_the_one_that_most_variants_have(store, mixed):
    table, rows, _ = rows_of(store, mixed)
    assert best_pair(rows, searched(rows, table.varying)) == ("lr", "ffn.mlp.hidden")
    assert best_pair(rows, ["ffn", "lr"]) is None


def test_a_heat_map_shows_the_best_of_each_shape_and_of_how_many(store):
    name = search(store)
    for depth, trees, accuracy, lr in ((1, 1, 0.5, 1e-3), (1, 1, 0.6, 2e-3), (3, 1, 0.7, 1e-3), (3, 2, 0.8, 1e-3)):
        trial(store, name, [accuracy], ffn="fff", lr=lr, **{"ffn.fff.depth": depth, "ffn.fff.trees": trees})
    trial(store, name, [0.9])
    _, rows, _ = rows_of(store, name)
    assert tree_kinds(rows) == ["fff"]
    ax = Figure().subplots()
    shape_map(of_kind(rows, "fff"), ax, Normalize(0.5, 0.8))
    image = ax.images[0].get_array()
    assert image.tolist() == [[0.6, 0.7], [None, 0.8]], "rows are numbers of trees, columns depths"
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "60.0\nbest of 2", (1, 0): "70.0", (1, 1): "80.0",
    }  # fmt: skip
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "3"]


def rated(store, name, ratio, lr, accuracy, *, equal=False, seed=0):
    flat = {"ffn.fff.depth": 4, "ffn.fff.level_lr_ratio": ratio, "ffn.fff.level_lr_equal_mean": equal, "lr": lr}
    return trial(store, name, [accuracy], ffn="fff", seed=seed, **flat)


def test_each_learning_rate_has_a_line_over_its_ratios_and_ratio_1_belongs_to_both_forms(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed, more in ((0, 0.0), (1, 0.02)):
        for lr in (1e-3, 2e-3):
            for ratio in (1.0, 0.5):
                rated(store, name, ratio, lr, 0.5 + lr * 10 + ratio / 10 + more, seed=seed)
        rated(store, name, 0.5, 2e-3, 0.9 + more, equal=True, seed=seed)
        rated(store, name, 0.7, 9e-3, 0.3 + more, seed=seed)
    table, rows, _ = rows_of(store, name)
    lines = rate_lines(rows, searched(rows, table.varying))
    assert [(line.name, list(line.rows["ratio"])) for line in lines] == [
        ("lr=0.001", [0.5, 1.0]), ("lr=0.002", [0.5, 1.0]), ("lr=0.002, equal mean rate", [0.5, 1.0]),
    ]  # fmt: skip
    assert list(lines[2].rows["val_acc"]) == pytest.approx([0.91, 0.63])
    ax = Figure().subplots()
    level_effect(lines, ax)
    heights = [list(container.lines[0].get_ydata()) for container in ax.containers]
    assert heights == [list(line.rows["val_acc"]) for line in lines]
    middles = [
        float(np.mean([container.lines[0].get_xdata()[place] for container in ax.containers])) for place in (0, 1)
    ]
    assert middles == pytest.approx([0.5, 1.0]), "lines stand aside by the same on both sides"
    colours = [container.lines[0].get_color() for container in ax.containers]
    assert colours[1] == colours[2] != colours[0], "a colour is a learning rate"


def test_a_lone_ratio_of_a_learning_rate_is_counted_as_left_out(store):
    name = search(store, grid=True, seeds=(0,))
    rated(store, name, 1.0, 1e-3, 0.5)
    rated(store, name, 0.5, 1e-3, 0.6)
    rated(store, name, 0.5, 9e-3, 0.6)
    figure = figure_of(load(store.url), name, "level-rates")
    assert "left out, without another ratio: 1 variant" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("parallel", "need two variants that ran to their end and differ in a key, but there is one"),
        ("slice", "need two variants that ran to their end and differ in a key, but there is one"),
        ("contour", "A contour needs variants that ran to their end with two different numbers in each of two keys"),
        ("tree-shapes", "A heat map of depth x trees needs trees of at least two depths and two numbers of trees"),
        (
            "level-rates",
            "A picture of level rates needs variants that ran to their end and differ in level_lr_ratio alone",
        ),
    ],
)
def test_a_search_that_has_nothing_for_a_picture_is_refused_in_one_sentence(store, kind, sentence):
    name = search(store)
    with pytest.raises(InputError, match=name):
        figure_of(load(store.url), name, kind)
    trial(store, name, [0.5])
    trial(store, name, [0.1], status="diverged", hidden=16)
    with pytest.raises(InputError, match=sentence):
        figure_of(load(store.url), name, kind)


def test_a_contour_takes_two_keys_that_are_numbers(store, mixed):
    frames = load(store.url)
    assert figure_of(frames, mixed, "contour", ["ffn.mlp.hidden", "lr"]).axes[0].get_xlabel() == "mlp.hidden"
    with pytest.raises(InputError, match="A contour needs two keys, but got 1"):
        figure_of(frames, mixed, "contour", ["lr"])
    with pytest.raises(InputError, match="needs keys that are numbers, but 'ffn' is not"):
        figure_of(frames, mixed, "contour", ["ffn", "lr"])
    with pytest.raises(InputError, match=r'"--key" is for pictures of keys \(parallel, slice, contour\)'):
        figure_of(frames, mixed, "timeline", ["lr"])
