"""What a comparison will be able to show, from the spread of what was run before."""

import sys
from pathlib import Path

import pytest

from results.foresight import foresight, spread_before
from results.frames import load
from results.remarks import Spread
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

PROTOCOL = {"data": "digits", "epochs": 3, "batch_size": 64, "augment": "none"}


def test_the_spread_is_that_of_trials_with_the_same_data_and_protocol(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, grid=True, seeds=(0, 1))
        for hidden in (8, 9):
            for seed, value in enumerate((0.50, 0.51)):
                trial(store, name, [value], seed=seed, hidden=hidden)
                trial(store, name, [10 * value - 4.5], seed=seed, hidden=hidden, epochs=9)
        assert spread_before(store, PROTOCOL, "c").freedom == 0, "the images may be others"
        for row in store.trials(name):
            store.update_trial(row.id, provenance={"data_checksum": "c"})
        found = spread_before(store, PROTOCOL, "c")
        assert (found.freedom, found.deviation) == (2, pytest.approx(0.01 / 2**0.5))
        assert spread_before(store, {**PROTOCOL, "epochs": 9}, "c").deviation == pytest.approx(0.1 / 2**0.5)
        assert spread_before(store, {**PROTOCOL, "epochs": 4}, "c").freedom == 0


def test_a_run_that_stands_in_three_searches_is_counted_once_as_in_their_table(tmp_path):
    with new_store(tmp_path) as store:
        names = [search(store, grid=True, seeds=(0, 1, 2)) for _ in range(3)]
        for name in names:
            for seed, value in enumerate((0.50, 0.51, 0.52)):
                made = trial(store, name, [value], seed=seed)
                store.update_trial(made, provenance={"data_checksum": "c"})
        found = spread_before(store, PROTOCOL, "c")
        assert (found.freedom, found.deviation) == (2, pytest.approx(0.01))
        assert "(pooled, 2 degrees of freedom)" in variants(load(store.url), names).notes[0]


def test_seeds_that_agree_exactly_promise_no_difference_of_0_points():
    said = foresight(Spread(deviation=0.0, freedom=4), 2, 3, 10_000)
    assert "a difference of 1.54 points" in said
    assert said.endswith("for the seeds of like trials in the store agree exactly).")


def test_the_sentence_says_the_difference_and_where_its_deviation_is_from():
    # two variants of three seeds at half a point: science.md's 1.5 points
    unknown = Spread(deviation=float("nan"), freedom=0)
    assert foresight(unknown, 2, 3, 10_000).startswith(
        "With 3 seeds a variant, a difference of 1.54 points will be found with 80 % power"
    )
    assert "from like trials in the store, 7 degrees" in foresight(Spread(deviation=0.004, freedom=7), 2, 3, 100)
    assert "will resolve no difference" in foresight(Spread(deviation=0.004, freedom=7), 20, 1, 100)
    # on 179 images alone the accuracy of one and the same model varies by 3 points
    assert "a difference of 9.18 points" in foresight(unknown, 2, 3, 179)
    assert "(standard deviation between seeds 2.99 points, assumed of 179 validation images" in foresight(
        unknown, 2, 3, 179
    )
