"""Pictures of what a search spent and when, read back from their artists."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from results.errors import InputError
from results.frames import load
from results.page import charts
from results.plots.best_so_far import best_so_far, spent, steps
from results.plots.catalog import figure_of
from results.plots.points import measured
from results.plots.style import styles_of
from results.plots.timeline import DOTS, lanes, machine, timeline
from results.rows import DecisionRow
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GPU = {"gpu": "H100", "hostname": "big", "device": "cuda"}


def at(minutes):
    return NOON + timedelta(minutes=minutes)


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def run(store, name, accuracies, start, end, *, status="finished", where=None, gpu_seconds=0.0, **config):
    """A trial that held its slot from `start` to `end`, in minutes; `end` none while it runs."""
    made = trial(store, name, accuracies, status=status, **config)
    seconds = 60.0 * (end - start) if end is not None else 30.0
    store.update_trial(
        made, started=at(start), ended=None if end is None else at(end), wall_seconds=seconds, gpu_seconds=gpu_seconds,
        provenance=where or {},
    )  # fmt: skip
    return made


@pytest.fixture
def asha(store):
    """Two slots for six minutes: two trials finished, one was stopped, one failed, one runs."""
    name = search(store, rungs=(1,))
    first = run(store, name, [0.3, 0.6], 0, 4, hidden=8)
    run(store, name, [0.2], 0, 1, status="stopped", hidden=16)
    run(store, name, [0.2, 0.8], 1, 6, hidden=32)
    run(store, name, [], 4, 5, status="failed", hidden=64)
    run(store, name, [0.1], 5, None, status="running", hidden=128)
    store.commit_report(
        first, None,
        DecisionRow(trial_id=first, epoch=1, scheduler="asha", rung=1, value=0.3, cutoff=0.2, decision="continue",
                    created=at(2)),
    )  # fmt: skip
    return name


def bars(ax):
    """By the number of its trial, the start, end and height of every bar."""
    return {
        container.get_label().rpartition(".")[2]: (bar.get_x(), bar.get_x() + bar.get_width(), bar.get_y())
        for container in ax.containers
        for bar in container.patches
    }


def drawn(store, name, until=6.5):
    frames = load(store.url)
    ax = Figure().subplots()
    is_pale = timeline(frames.trials_of(name), frames.decisions, ax, until=at(until))
    return ax, is_pale


def test_trials_lie_in_the_lane_that_was_free_and_machines_have_lanes_of_their_own(store):
    name = search(store)
    held = [(0, 4, GPU), (0, 1, GPU), (1, 3, GPU), (0, 2, {**GPU, "hostname": "small"}), (2, 5, GPU)]
    names = [
        run(store, name, [0.5], start, end, where=where, hidden=8 + n) for n, (start, end, where) in enumerate(held)
    ]
    found = lanes(load(store.url).trials_of(name), at(9))
    assert [found[each] for each in names] == [
        ("H100, big", 0), ("H100, big", 1), ("H100, big", 1), ("H100, small", 0), ("H100, big", 2),
    ]  # fmt: skip


def test_what_all_lanes_share_is_said_once(store):
    name = search(store)
    run(store, name, [0.5], 0, 2, where=GPU, hidden=8)
    assert [text.get_text() for text in drawn(store, name)[0].get_yticklabels()] == ["slot 1"]
    run(store, name, [0.5], 1, 2, where={**GPU, "hostname": "small"}, hidden=16)
    ax, _ = drawn(store, name)
    assert ax.get_ylabel() == "H100"
    assert [text.get_text() for text in ax.get_yticklabels()] == ["big slot 1", "small slot 1"]


def test_a_machine_is_named_by_its_gpu_or_its_cpu():
    assert machine({"gpu": None, "device": "cpu", "cpu": "AMD EPYC x 2", "hostname": "vm"}) == "AMD EPYC x 2, vm"
    assert machine(None) == "machine not recorded"


def test_bars_run_from_start_to_end_and_marks_say_how_they_ended(store, asha):
    ax, is_pale = drawn(store, asha)
    found = bars(ax)
    spans = {number: (round(float(a), 6), round(float(b), 6)) for number, (a, b, _) in found.items()}
    assert spans == {"1": (0, 4), "2": (0, 1), "3": (1, 6), "4": (4, 5), "5": (5, 6.5)}
    height = {number: y for number, (_, _, y) in found.items()}
    assert height["2"] == height["3"] != height["1"] == height["4"] == height["5"]
    ends = [(line.get_marker(), float(line.get_xdata()[0])) for line in ax.lines]
    assert ends == [("x", 1.0), ("*", 5.0)]
    ticks = [segment for part in ax.collections for segment in part.get_segments()]
    assert [float(segment[0][0]) for segment in ticks if len(segment)] == [2.0]
    assert not is_pale
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == [
        "mlp",
        "passed a rung",
        "stopped early",
        "diverged or failed",
        "not ended",
        "no mark: ran to its end",
    ]
    assert ax.get_xlabel() == "minutes since the first trial started"


def test_a_trial_that_lasted_longer_than_it_trained_is_pale(store):
    name = search(store)
    made = run(store, name, [0.5], 0, 300)
    store.update_trial(made, wall_seconds=600.0)
    ax, is_pale = drawn(store, name)
    assert is_pale
    assert ax.containers[0].patches[0].get_alpha() == 0.4
    assert ax.get_xlabel() == "hours since the first trial started"
    assert "resumed" in figure_of(load(store.url), name, "timeline").get_supxlabel()


@pytest.fixture
def tuned(store):
    """One slot for eight minutes: two trials tuned a rate, two seeds of the variant counted."""
    name = search(store, grid=True, seeds=(0, 1))
    for start, lr in ((0, 1e-3), (2, 2e-3)):
        run(store, name, [0.9], start, start + 2, where={**GPU, "lr_tuning": lr}, gpu_seconds=120.0, lr=lr, seed=99)
    for start, seed in ((4, 0), (6, 1)):
        run(store, name, [0.5], start, start + 2, where=GPU, gpu_seconds=120.0, lr=2e-3, seed=seed)
    return name


def test_trials_that_tuned_a_rate_hold_their_slots_and_are_marked_apart(store, tuned):
    ax = figure_of(load(store.url), tuned, "timeline").axes[0]
    found = {number: (round(float(a)), round(float(b))) for number, (a, b, _) in bars(ax).items()}
    assert found == {"1": (0, 2), "2": (2, 4), "3": (4, 6), "4": (6, 8)}
    assert [container.patches[0].get_hatch() for container in ax.containers] == [DOTS, DOTS, None, None]
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["mlp", "tuned a learning rate", "no mark: ran to its end"]


def test_what_tuning_took_is_spent_before_the_best_and_its_trials_are_no_points(store, tuned):
    ax = figure_of(load(store.url), tuned, "best-so-far").axes[0]
    best, ticks = ax.lines
    assert list(best.get_xdata()) == pytest.approx([8, 8])
    assert list(best.get_ydata()) == [0.5, 0.5]
    assert list(ticks.get_xdata()) == pytest.approx([2, 4])
    assert np.asarray(ax.collections[0].get_offsets()).tolist() == [[8, 0.5]]
    assert ax.get_legend().get_texts()[-1].get_text() == "a trial that tuned a rate ended"
    low, high = ax.get_ylim()
    assert 0.4 < low < 0.5 < high < 0.6, "ticks at the foot are no accuracies"


def test_a_page_shows_the_time_of_tuning_and_names_it(store, tuned):
    frames = load(store.url)
    picture = charts.timeline(frames, variants(frames, tuned), tuned)
    rows = picture.spec["data"]["values"]
    assert [row["tunes"] for row in rows] == [True, True, False, False]
    assert rows[0]["keys"] == "(tuned a learning rate)"
    assert "Dashed outline: tuned a learning rate." in picture.says


def test_trials_that_have_not_begun_are_counted(store, asha):
    trial(store, asha, [], status="pending")
    assert (
        figure_of(load(store.url), asha, "timeline")
        .get_supxlabel()
        .replace("\n", " ")
        .endswith("left out: 1 not begun")
    )


def test_what_was_spent_counts_every_trial_by_the_share_of_its_time_that_had_passed(store, asha):
    trials = load(store.url).trials_of(asha)
    moments = trials["started"].iloc[:1].map(lambda _: at(4))
    # 4 minutes of the first, 1 of the stopped, 3 of 5 of the third, none of the failed, none of the running one
    assert spent(trials, moments, "wall_seconds") == [pytest.approx(60 * (4 + 1 + 3))]


def test_the_best_so_far_never_falls_and_stands_at_what_was_spent_when_it_was_known(store):
    name = search(store)
    for start, end, accuracy in ((0, 60, 0.7), (60, 120, 0.6), (120, 240, 0.8)):
        run(store, name, [accuracy], start, end, where=GPU, gpu_seconds=30.0 * (end - start), hidden=8 + start)
    frames = load(store.url)
    found = steps(measured(variants(frames, name, everything=True)), frames.trials_of(name), "gpu_seconds")
    assert list(found["best"]) == [0.7, 0.7, 0.8]
    assert list(found["spent"]) == pytest.approx([1800, 3600, 7200])
    ax = Figure().subplots()
    best_so_far(found, 7200, "gpu_seconds", ax, styles=styles_of(["mlp"]))
    line = ax.lines[0]
    assert list(line.get_xdata()) == pytest.approx([0.5, 1.0, 2.0, 2.0])
    assert list(line.get_ydata()) == [0.7, 0.7, 0.8, 0.8]
    assert np.asarray(ax.collections[0].get_offsets()).tolist() == [[0.5, 0.7], [1.0, 0.6], [2.0, 0.8]]
    assert ax.get_xlabel().startswith("GPU-hours")


def test_a_compared_variant_is_known_when_its_last_seed_has_ended(store):
    name = search(store, grid=True, seeds=(0, 1))
    run(store, name, [0.5], 0, 1, seed=0)
    run(store, name, [0.7], 1, 3, seed=1)
    frames = load(store.url)
    found = steps(measured(variants(frames, name, everything=True)), frames.trials_of(name), "wall_seconds")
    assert list(zip(found["spent"], found["best"], strict=True)) == [(pytest.approx(180), pytest.approx(0.6))]


def test_without_a_gpu_time_of_training_is_drawn_and_said(store, asha):
    figure = figure_of(load(store.url), asha, "best-so-far")
    said = figure.get_supxlabel().replace("\n", " ")
    assert "no GPU was used" in said
    assert "left out: 1 stopped early, 1 not ended, 1 failed" in said
    assert figure.axes[0].get_xlabel().startswith("minutes")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("timeline", "needs trials whose start is recorded"),
        ("best-so-far", "needs a variant that ran to its end at a recorded time"),
    ],
)
def test_a_search_without_recorded_times_is_refused(store, kind, sentence):
    name = search(store)
    for count in (0, 1):
        with pytest.raises(InputError, match=sentence):
            figure_of(load(store.url), name, kind)
        if not count:
            trial(store, name, [0.5])
