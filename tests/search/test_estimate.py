"""What a search takes, worked by hand: starts, eager epochs beside the compiler, loading, slots, kinds."""

import pytest

from search.estimate import AROUND_SECONDS, HANDOVER_SECONDS, WARM_START_SECONDS, Speeds, estimate
from search.measured import Measurement, Planned, chosen
from search.resources import plan_resources
from trainer.config import TrialConfig

COMPILED = {
    "seconds_per_epoch": 1.0, "eager_seconds_per_epoch": 2.0, "start_seconds": 6.0, "compile_seconds": 5.0,
    "load_seconds": 3.0, "compiled": True,
}  # fmt: skip
BETWEEN = HANDOVER_SECONDS + WARM_START_SECONDS
EAGER = {**COMPILED, "seconds_per_epoch": 2.0, "compile_seconds": 0.0, "load_seconds": 0.0, "compiled": False}


def planned(hidden=8, macs=100, **flat):
    config = TrialConfig.from_flat({"ffn": "mlp", "ffn.mlp.hidden": hidden, **flat})
    return Planned(config=config, group="mlp", parameters=1, macs=macs)


def tree(macs):
    return Planned(config=TrialConfig.from_flat({"ffn": "fff"}), group="fff", parameters=1, macs=macs)


def measured(trial, values):
    return Measurement(planned=trial, values=values, kept=None)


def slots(concurrency):
    return plan_resources(concurrency=concurrency, cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1)


def test_a_measured_shape_is_compiled_from_its_second_epoch_and_loaded_once():
    one = planned()
    got = estimate([one, planned(seed=1)], [10.0, 10.0], [measured(one, COMPILED)], slots(1))
    assert got.start_seconds == 6.0
    assert got.epochs == 20.0
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + 2 * BETWEEN + 2.0 + 3 + 19 * 1.0)
    assert got.gpu_hours == 0.0


def test_another_shape_is_eager_until_its_code_is_made():
    one, other = planned(), planned(hidden=16)
    got = estimate([other], [10.0], [measured(one, COMPILED)], slots(1))
    eager, compiled = 3 * 2.0, 7 * 1.0  # the code comes in the third epoch
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + BETWEEN + eager + 3 + compiled)


def test_a_trial_that_ends_before_its_code_is_made_loads_nothing():
    one, other = planned(), planned(hidden=16)
    got = estimate([other], [2.0], [measured(one, COMPILED)], slots(1))
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + BETWEEN + 2 * 2.0)


def test_short_trials_are_never_compiled():
    one = planned()
    got = estimate([one], [10.0], [measured(one, EAGER)], slots(1))
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + BETWEEN + 10 * 2.0)


def test_each_trial_takes_the_slot_that_is_free_first():
    one = planned()
    trials = [planned(seed=number) for number in range(3)]
    got = estimate(trials, [9.0, 2.0, 3.0], [measured(one, EAGER)], slots(2))
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + BETWEEN + 9 * 2.0)


def test_a_start_in_a_warm_worker_is_the_middle_of_those_that_followed_another():
    trials = [planned(macs=macs) for macs in (100, 200, 300, 400)]
    starts = (6.0, 0.4, 0.2, 0.9)
    found = [measured(t, {**EAGER, "start_seconds": start}) for t, start in zip(trials, starts, strict=True)]
    got = estimate([trials[0]], [1.0], found, slots(1))
    assert got.wall_seconds == pytest.approx(AROUND_SECONDS + 6 + HANDOVER_SECONDS + 0.4 + 2.0)


def test_speeds_are_those_of_the_kind_between_its_multiply_adds():
    found = [
        measured(planned(macs=100), COMPILED),
        measured(planned(macs=300), {**COMPILED, "seconds_per_epoch": 2.0}),
        measured(tree(200), {**COMPILED, "seconds_per_epoch": 50.0}),
    ]
    assert [Speeds.of(planned(macs=macs), found).steady for macs in (50, 100, 150, 300, 900)] == [
        1.0,
        1.0,
        1.25,
        2.0,
        2.0,
    ]
    assert Speeds.of(tree(100), found).steady == 50.0


def test_of_one_kind_three_variants_are_measured_of_two_kinds_two_each_of_more_one_each():
    dense = [planned(macs=macs) for macs in (500, 100, 300, 100)]
    assert [trial.macs for trial in chosen(dense)] == [100, 300, 500]
    assert [(trial.kind, trial.macs) for trial in chosen([*dense, tree(7)])] == [("mlp", 100), ("mlp", 500), ("fff", 7)]
    flat = Planned(config=TrialConfig.from_flat({"ffn": "flat"}), group="flat", parameters=1, macs=9)
    assert [(trial.kind, trial.macs) for trial in chosen([*dense, tree(7), flat])] == [
        ("mlp", 300), ("fff", 7), ("flat", 9)]  # fmt: skip


def test_what_trains_in_another_way_is_measured_itself():
    ways = [{}, {"optimizer": "sgd"}, {"batch_size": 64}, {"augment": "none"}, {"dropout": 0.0}, {"lr": 5e-3}]
    trials = [planned(macs=7, **way) for way in ways]
    assert chosen(trials) == trials[:5]  # a rate costs nothing
    found = [measured(trial, {**EAGER, "seconds_per_epoch": float(n)}) for n, trial in enumerate(chosen(trials))]
    assert [Speeds.of(trial, found).steady for trial in trials] == [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]


def test_of_many_ways_those_are_measured_that_most_trials_have_and_the_others_are_taken_for_alike():
    sizes = [16 * number for number in range(1, 12)]
    trials = [planned(macs=7, batch_size=size) for size in [*sizes, *sizes[3:]]]
    assert [trial.config.batch_size for trial in chosen(trials)] == sizes[3:]
    found = [measured(trial, EAGER) for trial in chosen([*trials, tree(7)])]
    assert Speeds.of(trials[0], found).steady == EAGER["seconds_per_epoch"]
