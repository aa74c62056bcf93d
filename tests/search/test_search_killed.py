"""What kill -9 and Ctrl-C cost a search: nothing that was reported."""

import random
import re
import time
from dataclasses import replace

import pytest

from results.store import ENDED

pytestmark = pytest.mark.slow

MEASURED = ("train_loss", "val_loss", "val_acc", "lr")


def curve(store, trial_id):
    return [(row.epoch, *(getattr(row, name) for name in MEASURED)) for row in store.epochs(trial_id)]


def story(place, search_id):
    """Everything that a search decided and measured, times and ids aside."""
    with place.store() as store:
        rows = store.trials(search_id)
        trials = [(row.number, row.config, row.status, row.epochs, row.val_acc, row.test_acc) for row in rows]
        curves = [curve(store, row.id) for row in rows]
        decisions = [
            replace(decision, trial_id=decision.trial_id.rpartition(".")[2], created=None)
            for decision in store.decisions(search_id)
        ]
    return trials, curves, decisions


def trials_of(place, search_id):
    with place.store() as store:
        return store.trials(search_id)


def require_whole_curves(place, search_id):
    """Every trial's epochs are 1..n, as many as its row says, with neither gap nor double."""
    with place.store() as store:
        for row in store.trials(search_id):
            assert [epoch.epoch for epoch in store.epochs(row.id)] == list(range(1, row.epochs + 1))


def test_a_killed_worker_costs_nothing_and_one_that_dies_again_and_again_fails_alone(place):
    search = place.start("search.run", "pairs.py")
    search.wait_for(r"pairs-1\.1 .*epoch 8/40")
    place.worker_of("pairs-1.1").kill()
    search.wait_for(r"pairs-1\.1: the trial's worker process died after epoch \d+; it starts again")
    for death in (1, 2):
        search.wait_for(r"pairs-1\.2 .*epoch ", times=8 * death)
        place.worker_of("pairs-1.2").kill()
        search.wait_for(rf"pairs-1\.2: the trial's worker process died after epoch \d+; .* \(retry {death} of 2\)")
    search.kill()  # retries count over all drivers
    search = place.start("search.run", "--resume", "pairs-1")
    search.wait_for(r"pairs-1\.2 .*epoch ", times=3)
    place.worker_of("pairs-1.2").kill()
    assert search.finish() == 0, search.output
    assert "Traceback" not in search.output
    require_whole_curves(place, "pairs-1")
    with place.store() as store:
        once, thrice = store.trials("pairs-1")
    assert (once.status, once.epochs) == ("finished", 40)
    assert thrice.status == "failed"
    assert re.fullmatch(
        r"given up after 3 tries: the trial's worker process died after epochs \d+, \d+, \d+", thrice.cause
    )
    assert thrice.epochs >= 8
    # the whole curve is that of a training without any kill
    assert "Verdict: identical" in place.run("trainer.replay", once.id)
    place.wait_until_gone(60)


@pytest.mark.timeout(400)
def test_a_driver_killed_at_random_moments_and_resumed_decides_as_one_that_lived(shared_place):
    place = shared_place
    moments = random.Random(3)
    options = ("--concurrency", "1", "--epochs", "5", "--set", "depth=2")
    place.run("search.run", "tiny.py", *options)
    whole = story(place, "tiny-1")
    assert {status for _, _, status, *_ in whole[0]} == {"finished", "stopped"}

    search = place.start("search.run", "tiny.py", *options)
    for _ in range(2):
        search.wait_for(r" epoch ", times=moments.randint(1, 5))
        time.sleep(moments.uniform(0, 0.3))
        search.kill()
        require_whole_curves(place, "tiny-2")
        with place.store() as store:
            assert store.search("tiny-2").status == "running"
            assert {row.status for row in store.trials("tiny-2")} <= {"pending", "running", *ENDED}
        # at once, while what the dead driver had started is still about
        search = place.start("search.run", "--resume", "tiny-2")
    search.wait_for(r"tiny-2 on digits")
    time.sleep(moments.uniform(0, 6))
    search.kill()  # before it has done anything
    place.run("search.run", "--resume", "tiny-2")
    assert story(place, "tiny-2") == whole


@pytest.mark.timeout(400)
def test_ctrl_c_leaves_a_search_that_resume_completes(place):
    search = place.start("search.run", "pairs.py")
    search.wait_for(r"pairs-1\.1 .*epoch 5/40")
    search.ctrl_c()
    require_interrupted(place, search, "pairs-1")

    printed = place.run("search.run", "--resume", "pairs-1")
    assert "epoch 1/40" not in printed
    require_whole_curves(place, "pairs-1")
    with place.store() as store:
        assert store.search("pairs-1").status == "ended"
        rows = store.trials("pairs-1")
    assert [(row.status, row.epochs) for row in rows] == [("finished", 40)] * 2

    printed = place.run("search.run", "--resume", "pairs-1")
    assert "Search pairs-1 has ended: all its 2 trials have run." in printed
    assert "rank" in printed
    assert trials_of(place, "pairs-1") == rows


def test_ctrl_c_while_ray_starts_leaves_nothing_behind(place):
    search = place.start("search.run", "pairs.py")
    search.wait_for(r"pairs-1 on digits")
    time.sleep(3)  # at a moment at which Ray would swallow it, or leave its agents
    search.ctrl_c()
    require_interrupted(place, search, "pairs-1")


def require_interrupted(place, search, search_id):
    assert search.finish() == 130, search.output
    assert "Interrupted. Everything reported is in the store; go on with" in search.output
    assert f"-m search.run --resume {search_id}" in search.output
    assert "Traceback" not in search.output
    with place.store() as store:
        assert store.search(search_id).status == "interrupted"
        assert {row.status for row in store.trials(search_id)} <= {"interrupted", "pending", *ENDED}
    require_whole_curves(place, search_id)
    place.wait_until_gone(30)


def test_a_search_whose_time_is_up_stops_cleanly_and_says_how_to_go_on(place):
    printed = place.run("search.run", "pairs.py", "--time-budget", "12s", "--epochs", "20000")
    assert "Time is up. Go on with" in printed
    assert "--resume pairs-1" in printed
    with place.store() as store:
        assert store.search("pairs-1").status == "interrupted"
        assert {row.status for row in store.trials("pairs-1")} <= {"interrupted", "pending"}
    require_whole_curves(place, "pairs-1")
    place.wait_until_gone(60)


def test_what_killed_drivers_had_started_is_gone_within_two_minutes(shared_place):
    """Last in this file, since it waits for Ray's agents."""
    shared_place.wait_until_gone()
