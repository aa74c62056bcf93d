"""ASHA's decisions, worked out by hand, and what must hold for every order of arrival."""

from hypothesis import given
from hypothesis import strategies as st

from search.asha import Asha, rungs
from search.verdict import Entrant

MLP, FFF = Entrant(1, "mlp"), Entrant(2, "fff")


def test_rungs_are_powers_below_the_horizon():
    assert rungs(grace=1, reduction=3, epochs=27) == (1, 3, 9)
    assert rungs(grace=2, reduction=3, epochs=18) == (2, 6)
    assert rungs(grace=5, reduction=2, epochs=5) == ()


def test_decisions_worked_by_hand():
    """Reduction 3: with n values at a rung the best max(1, n // 3) go on."""
    asha = Asha(grace=1, reduction=3, epochs=9)
    arrivals = [
        # value, cut-off after it arrived, stops
        (0.50, 0.50, False),  # first: is the best of one
        (0.40, 0.50, True),  # n=2, fewer than the reduction: best 1 = 0.50
        (0.60, 0.60, False),  # n=3, best 1 = 0.60
        (0.55, 0.60, True),  # n=4, best 1
        (0.60, 0.60, False),  # n=5: a tie with the cut-off goes on
        (0.58, 0.60, True),  # n=6, best 2 = 0.60, 0.60
        (0.70, 0.60, False),  # n=7, best 2 = 0.70, 0.60
    ]
    for value, cutoff, stops in arrivals:
        verdict = asha.judge(MLP, 1, value)
        assert (verdict.rung, verdict.value, verdict.cutoff, verdict.stop) == (1, value, cutoff, stops)


def test_epochs_between_rungs_and_the_horizon_are_never_judged():
    asha = Asha(grace=1, reduction=3, epochs=9)
    asha.judge(MLP, 1, 0.9)
    for epoch in (2, 4, 8, 9):
        verdict = asha.judge(MLP, epoch, 0.0)
        assert not verdict.stop
        assert verdict.rung is None


def test_each_group_runs_its_own_race():
    asha = Asha(grace=1, reduction=2, epochs=4)
    assert not asha.judge(MLP, 1, 0.9).stop
    assert not asha.judge(FFF, 1, 0.2).stop
    assert asha.judge(MLP, 1, 0.2).stop


@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    reduction=st.integers(2, 5),
)
def test_the_best_so_far_always_goes_on_and_the_cutoff_is_a_seen_value(values, reduction):
    asha = Asha(1, reduction, 100)
    seen = []
    for value in values:
        verdict = asha.judge(MLP, 1, value)
        seen.append(value)
        assert verdict.cutoff in seen
        assert verdict.stop == (value < verdict.cutoff)
        if value == max(seen):
            assert not verdict.stop
        better = sum(other > value for other in seen)
        assert verdict.stop == (better >= max(1, len(seen) // reduction))


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30), seed=st.randoms(use_true_random=False))
def test_the_cutoff_after_all_reports_does_not_depend_on_their_order(values, seed):
    shuffled = values.copy()
    seed.shuffle(shuffled)
    one, other = Asha(1, 3, 9), Asha(1, 3, 9)
    for value in values:
        one.judge(MLP, 1, value)
    for value in shuffled:
        other.judge(MLP, 1, value)
    assert one.judge(MLP, 1, 0.5) == other.judge(MLP, 1, 0.5)


@given(values=st.lists(st.sampled_from([0.2, 0.4, 0.4, 0.6]), min_size=1, max_size=30), better=st.floats(0, 1))
def test_a_better_value_never_stops_where_a_worse_one_would_have_gone_on(values, better):
    one, other = Asha(1, 3, 9), Asha(1, 3, 9)
    for value in values[:-1]:
        one.judge(MLP, 1, value)
        other.judge(MLP, 1, value)
    if better >= values[-1] and not one.judge(MLP, 1, values[-1]).stop:
        assert not other.judge(MLP, 1, better).stop


@given(count=st.integers(1, 60), reduction=st.integers(2, 4))
def test_a_race_of_equals_stops_nobody(count, reduction):
    asha = Asha(1, reduction, 30)
    assert not any(asha.judge(Entrant(number, "mlp"), 1, 0.5).stop for number in range(1, count + 1))
