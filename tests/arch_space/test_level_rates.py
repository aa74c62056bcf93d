"""The factors of the learning rate by level of a tree."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch_space.level_rates import level_rates, require_level_lr_ratio


def test_the_root_is_slowed_most_and_the_leaves_keep_their_rate() -> None:
    assert level_rates(3, 0.5, [1, 2, 4, 8], equal_mean=False) == (0.125, 0.25, 0.5, 1.0)
    assert level_rates(2, 2.0, [4, 16, 64], equal_mean=False) == (4.0, 2.0, 1.0)
    assert level_rates(0, 0.5, [1], equal_mean=False) == (1.0,)


def test_at_equal_mean_rate_the_factors_are_divided_by_their_mean_over_neurons_not_over_levels() -> None:
    # (1 * 1/4 + 2 * 1/2 + 4 * 1) / 7 = 0.75
    assert level_rates(2, 0.5, [1, 2, 4], equal_mean=True) == pytest.approx((1 / 3, 2 / 3, 4 / 3))


@given(st.integers(0, 12), st.floats(0.01, 100), st.integers(2, 5))
def test_the_mean_over_the_neurons_is_one_and_the_ratio_of_neighbours_stays(depth: int, ratio: float, k: int) -> None:
    neurons = [k**level for level in range(depth + 1)]
    factors = level_rates(depth, ratio, neurons, equal_mean=True)
    mean = sum(n * factor for n, factor in zip(neurons, factors, strict=True)) / sum(neurons)
    assert mean == pytest.approx(1)
    for upper, lower in itertools.pairwise(factors):
        assert upper == pytest.approx(ratio * lower)


def test_a_ratio_of_one_changes_nothing() -> None:
    assert level_rates(4, 1.0, [1, 2, 4, 8, 16], equal_mean=True) == (1.0,) * 5


def test_levels_that_do_not_fit_the_depth_are_refused() -> None:
    with pytest.raises(ValueError, match=r"neurons on 3 levels, but got \[1, 2\]"):
        level_rates(2, 0.5, [1, 2], equal_mean=False)


@pytest.mark.parametrize("ratio", [0.0, -0.5, 0.009, 101.0])
def test_a_ratio_that_is_not_positive_or_far_from_one_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match=r'"level_lr_ratio" must be at (least 0\.01|most 100), but got'):
        require_level_lr_ratio(ratio)
