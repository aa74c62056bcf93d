"""One contract for all schedulers, and the hand-worked decisions of Hyperband and of the median rule."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.asha import Asha
from search.hyperband import Hyperband, dealt
from search.median import COMPARED, Median
from search.schedulers import SCHEDULERS, build_scheduler, degenerate
from search.verdict import Entrant

EPOCHS = 12
every = pytest.mark.parametrize("name", SCHEDULERS)
VALUES = st.one_of(st.floats(0, 1), st.sampled_from([0.5, math.nan, math.inf, -math.inf, None]))
CURVES = st.lists(st.lists(VALUES, min_size=EPOCHS - 1, max_size=EPOCHS - 1), min_size=1, max_size=12)


def run(scheduler, curves, chance, groups=("mlp", "fff")):
    """Race all curves at once in an order that chance decides; every call with its verdict, in order."""
    live, calls = dict.fromkeys(range(1, len(curves) + 1), 0), []
    while live:
        number = chance.choice(sorted(live))
        epoch = live[number] + 1
        entrant = Entrant(number, groups[number % len(groups)])
        verdict = scheduler.judge(entrant, epoch, curves[number - 1][epoch - 1])
        calls.append((entrant, epoch, curves[number - 1][epoch - 1], verdict))
        live[number] = epoch
        if verdict.stop or epoch == EPOCHS - 1:
            del live[number]
    return calls


def build(name, grace=2, reduction=2):
    return build_scheduler(name, grace, reduction, EPOCHS)


@every
@given(curves=CURVES, chance=st.randoms(use_true_random=False))
def test_every_verdict_follows_its_own_numbers_and_no_trial_is_judged_before_the_grace(name, curves, chance):
    scheduler = build(name)
    for _, epoch, value, verdict in run(scheduler, curves, chance):
        assert verdict.rung in (None, epoch)
        if verdict.rung is None:
            assert not verdict.stop
            continue
        assert epoch >= 2
        assert not scheduler.rungs or epoch in scheduler.rungs
        if value is None or not math.isfinite(value):
            assert verdict.stop
            assert (verdict.value, verdict.cutoff) == (None, None)
        else:
            assert verdict.stop == (verdict.cutoff is not None and verdict.value < verdict.cutoff)


@every
@given(curves=CURVES, chance=st.randoms(use_true_random=False), cut=st.integers(0, 100))
def test_a_scheduler_that_judges_a_history_again_goes_on_as_the_first_one(name, curves, chance, cut):
    calls = run(build(name), curves, chance)
    again = build(name)
    for entrant, epoch, value, _ in calls[:cut]:
        # what the store has: NULL for what is not finite
        again.judge(entrant, epoch, value if value is not None and math.isfinite(value) else None)
    for entrant, epoch, value, verdict in calls[cut:]:
        assert again.judge(entrant, epoch, value) == verdict


@every
@given(curves=CURVES, chance=st.randoms(use_true_random=False), cut=st.integers(0, 60))
def test_only_the_order_of_judged_reports_matters(name, curves, chance, cut):
    """Reports that are not judged may come at any other time, if a trial's own stay in order: what `--resume` relies on."""
    calls = run(build(name), curves, chance)
    judged = [call for call in calls if call[3].rung is not None]
    again, verdicts, done = build(name), [], Counter()
    own = {number: [call for call in calls if call[0].number == number] for number in range(1, len(curves) + 1)}
    for entrant, epoch, _, _ in judged:
        for call in own[entrant.number][done[entrant.number] : epoch]:
            got = again.judge(*call[:3])
            assert got == call[3]
            verdicts.append(got)
        done[entrant.number] = epoch
    assert [verdict for verdict in verdicts if verdict.rung is not None] == [call[3] for call in judged]


@every
@given(curves=CURVES, chance=st.randoms(use_true_random=False), other=CURVES)
def test_groups_do_not_see_each_other(name, curves, chance, other):
    alone = run(build(name), curves, chance, groups=("mlp",))
    both = build(name)
    strangers = [(Entrant(1000 + n, "fff"), epoch, value) for n, curve in enumerate(other)
                 for epoch, value in enumerate(curve, start=1)]  # fmt: skip
    stopped = set()
    for index, (entrant, epoch, value, verdict) in enumerate(alone):
        for stranger in strangers[3 * index : 3 * index + 3]:
            if stranger[0].number not in stopped and both.judge(*stranger).stop:
                stopped.add(stranger[0].number)
        assert both.judge(entrant, epoch, value) == verdict


@every
@given(count=st.integers(1, 30), value=st.floats(0, 1), chance=st.randoms(use_true_random=False))
def test_equals_all_go_on(name, count, value, chance):
    calls = run(build(name), [[value] * (EPOCHS - 1)] * count, chance)
    assert not any(call[3].stop for call in calls)


@every
@given(curves=CURVES, chance=st.randoms(use_true_random=False))
def test_whoever_leads_from_the_first_epoch_to_the_last_is_never_stopped(name, curves, chance):
    leading = [[2.0] * (EPOCHS - 1), *curves]
    calls = run(build(name), leading, chance, groups=("mlp",))
    assert not any(call[3].stop for call in calls if call[0].number == 1)


@every
def test_a_grace_of_the_whole_horizon_judges_nobody(name):
    scheduler = build_scheduler(name, EPOCHS, 2, EPOCHS)
    for number in range(1, 10):
        assert not any(scheduler.judge(Entrant(number, "mlp"), epoch, 1 / number).rung for epoch in range(1, EPOCHS))


def test_few_at_once_are_said_to_make_successive_halving_degenerate():
    assert "with 2 at once and 1 in 3 kept, ASHA judges" in degenerate("asha", 3, 2)
    assert degenerate("asha", 3, 3) is None
    assert "Hyperband" in degenerate("hyperband", 2, 1)
    assert degenerate("median", 3, 1) is None
    assert degenerate("none", 3, 1) is None


# Hyperband


def test_the_brackets_of_a_cycle_worked_by_hand():
    """Horizon 9, grace 1, reduction 3: B = 2, shares ceil(3/3 * 9), ceil(3/2 * 3), ceil(3/1 * 1)."""
    assert Counter(dealt(3, 3)) == {0: 9, 1: 5, 2: 3}
    assert dealt(1, 3) == [0]
    # reduction 2: shares ceil(2/2 * 2) = 2 and ceil(2/1 * 1) = 2, at 1/4 and 3/4 of the cycle both
    assert dealt(2, 2) == [0, 1, 0, 1]
    hyperband = Hyperband(1, 3, 9)
    assert Counter(hyperband.bracket(number) for number in range(1, 18)) == {0: 9, 1: 5, 2: 3}
    assert [hyperband.bracket(number) for number in (1, 18, 35)] == [dealt(3, 3)[0]] * 3


@given(brackets=st.integers(1, 5), reduction=st.integers(2, 4), count=st.integers(1, 200))
def test_at_any_moment_each_bracket_has_had_its_share_of_the_trials_give_or_take_one(brackets, reduction, count):
    cycle = dealt(brackets, reduction)
    given_out = Counter(cycle[number % len(cycle)] for number in range(count))
    for bracket, share in Counter(cycle).items():
        assert abs(given_out[bracket] - count * share / len(cycle)) <= brackets / 2 + 1


def test_a_bracket_judges_only_at_its_own_rungs_and_only_its_own_trials():
    hyperband = Hyperband(1, 3, 9)
    numbers = {b: [n for n in range(1, 18) if hyperband.bracket(n) == b] for b in range(3)}
    early, late, never = numbers[0][0], numbers[1][0], numbers[2][0]
    assert not hyperband.judge(Entrant(early, "mlp"), 1, 0.9).stop
    assert hyperband.judge(Entrant(late, "mlp"), 1, 0.1).rung is None
    assert not hyperband.judge(Entrant(late, "mlp"), 3, 0.1).stop  # alone in its bracket
    assert hyperband.judge(Entrant(numbers[1][1], "mlp"), 3, 0.05).stop
    assert all(hyperband.judge(Entrant(never, "mlp"), epoch, 0.0).rung is None for epoch in range(1, 9))


@given(curves=CURVES, chance=st.randoms(use_true_random=False))
def test_each_bracket_decides_as_an_asha_of_its_own(curves, chance):
    hyperband = Hyperband(1, 2, EPOCHS)
    alone = [Asha(2**bracket, 2, EPOCHS) for bracket in range(len(hyperband.rungs) + 1)]
    for entrant, epoch, value, verdict in run(hyperband, curves, chance):
        assert alone[hyperband.bracket(entrant.number)].judge(entrant, epoch, value) == verdict


# the median rule


def test_the_median_rule_worked_by_hand():
    median = Median(2, 3, 5)
    curves = [(0.2, 0.4), (0.4, 0.6), (0.1, 0.3)]  # means after two epochs: 0.3, 0.5, 0.2
    for number, (first, second) in enumerate(curves, start=1):
        assert median.judge(Entrant(number, "mlp"), 1, first).rung is None
        verdict = median.judge(Entrant(number, "mlp"), 2, second)
        assert (verdict.rung, verdict.value, verdict.cutoff, verdict.stop) == (2, max(first, second), None, False)
    assert len(curves) == COMPARED
    weak, tied = Entrant(4, "mlp"), Entrant(5, "mlp")
    median.judge(weak, 1, 0.25)
    verdict = median.judge(weak, 2, 0.2)  # best 0.25 against the median 0.3
    assert (verdict.value, verdict.cutoff, verdict.stop) == (0.25, pytest.approx(0.3), True)
    median.judge(tied, 1, 0.2)
    verdict = median.judge(tied, 2, 0.26)  # means 0.2, 0.225, 0.3, 0.5: the median of four is between two
    assert verdict.cutoff == pytest.approx(0.2625)
    assert verdict.stop
    assert not median.judge(Entrant(1, "mlp"), 3, 0.0).stop  # the first at its epoch


def test_the_median_rule_forgets_the_curves_of_trials_that_are_over():
    median = Median(1, 3, 4)
    for number in range(1, 200):
        for epoch in (1, 2, 3):
            if median.judge(Entrant(number, "mlp"), epoch, 1 / number).stop:
                break
    assert median._curves == {}
