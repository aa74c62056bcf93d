"""Timing works, whatever the times are: turns, inputs that all differ, and comparisons worked by hand."""

import math
import time

import pytest
import torch

from trainer.timing import LEAST, MOST, Spread, cpu_threads, distinct_inputs, time_calls

CPU = torch.device("cpu")


def spread(*seconds: float) -> Spread:
    return Spread(seconds=seconds, cpu_share=1.0)


def test_calls_take_turns_and_each_gets_the_next_input():
    seen = []
    inputs = [torch.full((1,), float(number)) for number in range(3)]

    def noting(name):
        def call(x):
            seen.append((name, int(x)))
            time.sleep(0.01)

        return call

    spreads = time_calls({"a": noting("a"), "b": noting("b")}, inputs, CPU, seconds=0.1)
    assert [number for _, number in seen] == [number % 3 for number in range(len(seen))]
    timed = seen[-2 * len(spreads["a"].seconds) :]
    assert [name for name, _ in timed] == ["a", "b"] * len(spreads["a"].seconds)
    assert LEAST <= len(spreads["a"].seconds) == len(spreads["b"].seconds) <= MOST
    for one in spreads.values():
        assert all(0.01 <= seconds < math.inf for seconds in one.seconds)
        assert one.quartiles[0] <= one.median <= one.quartiles[1]


def test_a_process_that_waits_is_seen_as_disturbed():
    spreads = time_calls({"sleeps": lambda x: time.sleep(0.02)}, [torch.zeros(1)], CPU, seconds=0.1)
    assert spreads["sleeps"].cpu_share < 0.5
    assert spreads["sleeps"].disturbed(1)


def test_two_threads_that_had_one_core_between_them_are_disturbed():
    assert not Spread(seconds=(1.0,), cpu_share=0.97).disturbed(1)
    assert Spread(seconds=(1.0,), cpu_share=1.0).disturbed(2)
    assert not Spread(seconds=(1.0,), cpu_share=1.95).disturbed(2)


def test_a_short_call_is_timed_many_to_an_interval():
    count = 0

    def call(x):
        nonlocal count
        count += 1

    spreads = time_calls({"short": call}, [torch.zeros(1)], CPU, seconds=0.05)
    assert count > 10 * len(spreads["short"].seconds)


def test_ratios_are_taken_turn_by_turn_so_that_a_slow_moment_hits_both():
    fast, slow = spread(1, 1, 50, 1), spread(2, 2, 100, 2)
    assert fast.times_as_fast(slow) == 2
    assert slow.times_as_fast(fast) == 0.5
    assert fast.compare(slow) == "faster"
    assert slow.compare(fast) == "slower"


def test_less_than_three_quarters_of_the_turns_decide_nothing():
    assert spread(1, 1, 3, 3).compare(spread(2, 2, 2, 2)) == "level"
    assert spread(2, 2, 2, 2).compare(spread(2, 2, 2, 2)) == "level"


@pytest.mark.parametrize(("tokens", "batches"), [(1, 64), (10, 7), (1000, 2)])
def test_no_token_of_the_inputs_comes_twice(tokens, batches):
    inputs = distinct_inputs(tokens, 4, CPU, pool=64)
    assert [batch.shape for batch in inputs] == [(tokens, 4)] * batches
    together = torch.cat(inputs)
    assert len(together.unique(dim=0)) == len(together)


def test_torch_has_its_threads_back_afterwards_even_where_the_timing_raises():
    before = torch.get_num_threads()

    def raises(x):
        assert torch.get_num_threads() == before + 1
        raise KeyError

    def timed():
        with cpu_threads(before + 1):
            time_calls({"raises": raises}, [torch.zeros(1)], CPU)

    with pytest.raises(KeyError):
        timed()
    assert torch.get_num_threads() == before
