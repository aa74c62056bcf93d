"""Intervals and detectable differences against tables and against science.md."""

import math

import numpy as np
import pytest

from results.statistics import (
    accuracy_error,
    against_best,
    detectable_difference,
    difference,
    equal_spread_p,
    equivalence_p,
    holm,
    mcnemar,
    pooled_deviation,
    t_interval,
)


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


def test_the_t_interval_covers_95_percent_at_three_values():
    rng = np.random.default_rng(7)
    samples = rng.normal(0.7, 0.005, size=(6_000, 3))
    covered = np.mean([abs(sample.mean() - 0.7) <= t_interval(list(sample)) for sample in samples])
    # one standard error of a share near 0.95 is 0.003
    assert covered == pytest.approx(0.95, abs=0.009)


def test_a_difference_worked_by_hand():
    # means 73.5 and 72.0; error 0.6 sqrt(2/3) = 0.48990; t(0.975, 8) = 2.30600; t = 3.0619, p = 0.0156
    found = difference([73.0, 73.5, 74.0], [72.0, 71.5, 72.5], deviation=0.6, freedom=8)
    assert found.value == pytest.approx(1.5)
    assert found.error == pytest.approx(0.48990, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((1.5 - 1.12971, 1.5 + 1.12971), abs=1e-4)
    assert found.p == pytest.approx(0.0156, abs=1e-4)


def test_without_a_spread_there_is_a_difference_and_no_test():
    found = difference([0.6], [0.5], *pooled_deviation([[0.6], [0.5]]))
    assert found.value == pytest.approx(0.1)
    assert math.isnan(found.p)
    assert math.isnan(equivalence_p(found, 0.01))


def test_a_side_without_a_value_is_refused():
    with pytest.raises(ValueError, match="a value on each side, but got 0 and 1"):
        difference([], [1.0], 0.1, 2)


def test_the_pooled_test_raises_a_false_alarm_in_5_percent_of_equal_pairs():
    rng = np.random.default_rng(3)
    tables = rng.normal(size=(2_000, 4, 3))
    alarms = [difference(*map(list, table[:2]), *pooled_deviation(table.tolist())).p < 0.05 for table in tables]
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.015)


def test_bartlett_worked_by_hand():
    # variances 1 and 9 on 2 degrees each: pooled 5; 4 ln 5 - 2 ln 1 - 2 ln 9 = 2.0433, over 1 + (1/2 + 1/2 - 1/4) / 3 = 1.25
    p = equal_spread_p([[1.0, 2.0, 3.0], [0.0, 3.0, 6.0], [4.0, 4.0]])
    assert p == pytest.approx(math.erfc(math.sqrt(2.0433 / 1.25 / 2)), abs=1e-4)  # chi squared with 1 degree
    assert math.isnan(equal_spread_p([[1.0, 2.0], [3.0]]))


def test_holm_worked_by_hand():
    # sorted 0.01 0.02 0.03 times 3, 2, 1: 0.03, 0.04, and 0.03 raised to the 0.04 before it
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    corrected = holm([math.nan, 0.01, 0.04])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.02, 0.04])


def test_the_best_of_ten_equal_variants_is_told_apart_in_fewer_than_5_percent_of_tables():
    rng = np.random.default_rng(11)
    tables = rng.normal(size=(400, 10, 3)).tolist()
    alarms = np.mean([min(against_best(table, *pooled_deviation(table))) < 0.05 for table in tables])
    assert alarms < 0.05


def test_a_variant_far_below_is_told_apart_from_the_best_and_one_close_by_is_not():
    groups = [[0.70, 0.71, 0.72], [0.60, 0.61, 0.62], [0.705, 0.715, 0.725]]
    near, far, best = against_best(groups, *pooled_deviation(groups))
    assert (near > 0.5, far < 0.01, best) == (True, True, 1.0)


def test_equivalence_is_the_90_percent_interval_inside_the_margin():
    found = difference([0.700, 0.701, 0.702], [0.701, 0.702, 0.703], deviation=0.001, freedom=4)
    wide = 0.001 + 2.13185 * found.error  # t(0.95, 4)
    assert equivalence_p(found, wide * 1.001) < 0.05 < equivalence_p(found, wide * 0.999)
    with pytest.raises(ValueError, match="above 0, but got 0"):
        equivalence_p(found, 0)


def test_mcnemar_worked_by_hand():
    # 1 against 9: 2 (C(10,0) + C(10,1)) / 2^10 = 22 / 1024
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(9, 1) == mcnemar(1, 9)
    assert (mcnemar(5, 5), mcnemar(0, 0)) == (1.0, 1.0)


def test_a_deviation_from_the_whole_table_detects_more_than_one_from_two_variants():
    assert (
        detectable_difference(0.5, 3, freedom=40)
        < detectable_difference(0.5, 3)
        == detectable_difference(0.5, 3, freedom=4)
    )
