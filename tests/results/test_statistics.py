"""Intervals and detectable differences against tables and against science.md."""

import math

import pytest

from results.statistics import accuracy_error, detectable_difference, pooled_deviation, t_interval


@pytest.mark.parametrize(("seeds", "points"), [(3, 1.5), (5, 1.0), (10, 0.67)])
def test_what_a_few_seeds_detect_at_half_a_point_of_deviation(seeds, points):
    assert detectable_difference(0.5, seeds) == pytest.approx(points, abs=0.04)


def test_three_tenths_of_a_point_take_45_seeds():
    assert detectable_difference(0.5, 45) <= 0.3 < detectable_difference(0.5, 43)


def test_a_t_interval_worked_by_hand():
    # t(0.975, 2) = 4.303; deviation of 1, 2, 3 is 1
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert math.isnan(t_interval([1.0]))


def test_the_pooled_deviation_worked_by_hand():
    # squares 0.5 (1 degree) and 2.0 (2 degrees)
    deviation, freedom = pooled_deviation([[1.0, 2.0], [1.0, 2.0, 3.0], [7.0]])
    assert freedom == 3
    assert deviation == pytest.approx(math.sqrt(2.5 / 3))


def test_an_accuracy_on_5000_images_near_85_percent_has_half_a_point_of_error():
    assert 100 * accuracy_error(0.85, 5000) == pytest.approx(0.505, abs=0.01)
