"""The random scope draws within bounds, evenly in the logarithm where asked, and the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch_space.space import RandomScope, prefixed


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(0, 1000), st.booleans())
def test_an_integer_is_within_its_bounds(seed: int, low: int, width: int, log: bool) -> None:
    assert low <= RandomScope(seed).int("n", low, low + width, log=log) <= low + width


@given(st.integers(0, 2**32), st.floats(1e-6, 1.0), st.floats(1.0, 1e6), st.booleans())
def test_a_number_is_within_its_bounds(seed: int, low: float, factor: float, log: bool) -> None:
    assert low <= RandomScope(seed).float("x", low, low * factor, log=log) <= low * factor


@given(st.integers(0, 2**32))
def test_a_stepped_integer_is_on_its_grid(seed: int) -> None:
    assert RandomScope(seed).int("rows", 0, 32, step=8) in (0, 8, 16, 24, 32)


def test_log_gives_each_octave_its_share_and_reaches_both_ends() -> None:
    scope = RandomScope(0)
    drawn = [scope.int("hidden", 8, 1023, log=True) for _ in range(7000)]
    octaves = Counter(value.bit_length() for value in drawn)
    assert sorted(octaves) == [4, 5, 6, 7, 8, 9, 10]
    assert all(850 < count < 1150 for count in octaves.values())  # 1000 expected, standard deviation 29
    small = Counter(scope.int("trees", 1, 2, log=True) for _ in range(1000))
    assert set(small) == {1, 2}


def test_one_seed_gives_one_sequence() -> None:
    def draw(seed: int) -> list[object]:
        scope = RandomScope(seed)
        return [scope.int("a", 0, 10**9), scope.float("b", 0, 1), scope.categorical("c", ["x", "y", "z"])]

    assert draw(3) == draw(3) != draw(4)


def test_a_prefix_is_what_the_study_sees() -> None:
    scope = RandomScope(0)
    inner = prefixed(scope, "ffn.fff.")
    values = {
        "ffn.fff.depth": inner.int("depth", 1, 8, step=1),
        "ffn.fff.ratio": inner.float("ratio", 0.5, 1.0, log=True),
        "ffn.fff.choice": inner.categorical("choice", ("hard", "weighted")),
    }
    assert scope.drawn == values


def test_an_impossible_range_is_refused_by_name() -> None:
    scope = RandomScope(0)
    with pytest.raises(ValueError, match=r"range of 'n' must not be empty, but got \(low=2, high=1\)"):
        scope.int("n", 2, 1)
    with pytest.raises(ValueError, match="range of 'x' must start above 0 to be logarithmic"):
        scope.float("x", 0.0, 1.0, log=True)
    with pytest.raises(ValueError, match="range of 'n' must have either log or step"):
        scope.int("n", 1, 9, log=True, step=2)
    with pytest.raises(ValueError, match="choices of 'c' must not be empty"):
        scope.categorical("c", [])
