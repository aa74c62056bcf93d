"""How long a worker may be silent: hand-worked times on a clock of the test's own."""

import pytest

from search.simulated import Clock
from search.watchdog import SHORTEST_EPOCH_SECONDS, START_SECONDS, UNKNOWN_SECONDS, Watchdog

TURN = 0.5


class Driver:
    """A driver that turns every half second, as Tune's does."""

    def __init__(self, times: float) -> None:
        self.clock = Clock()
        self.dog = Watchdog(times, self.clock)

    def turn(self, seconds: float) -> list[str]:
        """Let so much time pass; the trials that were found silent."""
        found = []
        for _ in range(round(seconds / TURN)):
            self.clock.now += TURN
            found += [silence.trial_id for silence in self.dog.look()]
        return found


@pytest.fixture
def driver():
    return Driver(20)


def test_a_worker_may_be_silent_for_twenty_of_its_own_longest_epochs(driver):
    driver.dog.began("a", "fff")
    for seconds in (4, 10, 5):
        assert driver.turn(seconds) == []
        driver.dog.heard("a")
        driver.dog.learn("a", "fff", seconds)
    assert driver.turn(200) == []
    assert driver.turn(TURN) == ["a"]
    assert driver.turn(10_000) == [], "it is named once"


def test_a_worker_that_is_heard_in_time_is_never_named_and_a_tiny_epoch_counts_as_some_seconds(driver):
    driver.dog.began("a", "mlp")
    driver.dog.heard("a")
    driver.dog.learn("a", "mlp", 0.01)
    for _ in range(5):
        assert driver.turn(20 * SHORTEST_EPOCH_SECONDS) == []
        driver.dog.heard("a")
    assert driver.turn(20 * SHORTEST_EPOCH_SECONDS + TURN) == ["a"]


def test_a_first_epoch_gets_time_to_start_and_compile_beside_what_its_kind_takes(driver):
    driver.dog.learn("other", "fff", 30)
    driver.dog.learn("other", "mlp", 5)
    driver.dog.began("a", "fff")
    driver.dog.began("b", "mlp")
    driver.dog.began("c", "csc")
    assert driver.turn(START_SECONDS + 20 * 5) == []
    assert driver.turn(TURN) == ["b"]
    assert driver.turn(20 * 25 - TURN) == []
    assert driver.turn(TURN) == ["a"]
    assert driver.turn(UNKNOWN_SECONDS - START_SECONDS - 20 * 30 - TURN) == []
    assert driver.turn(TURN) == ["c"], "of which nothing was known"


def test_a_retry_starts_again_with_time_to_start(driver):
    driver.dog.began("a", "fff")
    driver.dog.heard("a")
    driver.dog.learn("a", "fff", 4)
    assert driver.turn(81) == ["a"]
    driver.dog.began("a", "fff")
    assert driver.turn(START_SECONDS + 80) == []
    assert driver.turn(TURN) == ["a"]


def test_time_in_which_the_driver_slept_counts_against_nobody(driver):
    driver.dog.began("a", "fff")
    driver.dog.heard("a")
    driver.dog.learn("a", "fff", 4)
    driver.turn(40)
    driver.clock.now += 100_000  # suspended, or waiting for its database
    assert driver.dog.look() == []
    driver.dog.heard("a")  # the report that lay in the queue
    assert driver.turn(80) == []
    driver.clock.now += 100_000
    assert [silence.trial_id for silence in driver.dog.look()] == ["a"], (
        "silent for long enough while the driver was awake"
    )


def test_a_trial_without_a_worker_is_not_watched_and_0_watches_nobody(driver):
    driver.dog.began("a", "fff")
    driver.dog.began("b", "fff")
    driver.dog.keep_only({"b"})
    assert not driver.dog.knows("a")
    assert driver.turn(UNKNOWN_SECONDS + 1) == ["b"]
    off = Driver(0)
    off.dog.began("a", "fff")
    assert off.turn(3 * UNKNOWN_SECONDS) == []
