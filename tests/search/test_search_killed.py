"""What a dead worker and Ctrl-C cost a search: nothing that was reported. Random kills of all else: tests/faults."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from results.store import ENDED
from search.ray_processes import lives
from search.ray_watch import COUNT, RESTARTS
from trainer.checkpoint import LAST

pytestmark = pytest.mark.slow


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
    killed = search
    search = place.start("search.run", "--resume", "pairs-1")
    search.wait_for(r"pairs-1\.2 .*epoch ", times=3)
    assert not [process for process in killed.family.values() if lives(process)], "Ray's agents go with the next driver"
    late = Path(trials_of(place, "pairs-1")[0].provenance["folder"]) / LAST
    late.write_bytes(b"as of a worker that was killed between writing this and seeing that its trial had ended")
    place.worker_of("pairs-1.2").kill()
    assert search.finish() == 0, search.output
    assert "Traceback" not in search.output
    assert not late.exists()
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


@pytest.mark.parametrize("name", ["raylet", pytest.param("gcs_server", marks=pytest.mark.long)])
def test_a_part_of_ray_that_dies_once_costs_one_new_start_of_it(place, name):
    search = place.start("search.run", "pairs.py", "--epochs", "12")
    search.wait_for(r"pairs-1\.1 .*epoch 3/12")
    (victim,) = [each for each in search.note_family() if each.name() == name]
    victim.kill()
    assert search.finish() == 0, search.output
    assert search.output.count("died; starting Ray again") == 1, search.output
    place.run("results.audit", "pairs-1")
    place.wait_until_gone(60)


def test_sigterm_to_all_processes_of_a_search_ends_it_and_does_not_start_it_again(place):
    """As `timeout` and batch systems send it."""
    search = place.start("search.run", "pairs.py", "--epochs", "12")
    search.wait_for(r"pairs-1\.1 .*epoch 3/12")
    os.killpg(search.pid, signal.SIGTERM)
    assert search.finish() == 130, search.output
    assert "starting Ray again" not in search.output
    assert "-m search.run --resume pairs-1" in search.output
    with place.store() as store:
        assert store.search("pairs-1").status == "interrupted"
    place.wait_until_gone(60)


def test_a_ray_that_dies_again_and_again_before_any_report_ends_the_search_with_a_sentence(place):
    search = place.start("search.run", "pairs.py", **{COUNT: str(RESTARTS)})
    search.wait_for("pairs-1 on digits")
    deadline = time.monotonic() + 60
    while not (raylets := [each for each in search.note_family() if each.name() == "raylet"]):
        assert time.monotonic() < deadline, search.output
        time.sleep(0.1)
    raylets[0].kill()
    assert search.finish() == 2, search.output
    assert f"Ray's process raylet died {RESTARTS + 1} times before any trial reported" in search.output
    assert "--resume pairs-1" in search.output
    place.wait_until_gone(30)  # its agents, too: the driver has ended them


@pytest.mark.timeout(400)
def test_ctrl_c_leaves_a_search_that_resume_completes_also_with_a_damaged_checkpoint(place):
    search = place.start("search.run", "pairs.py")
    search.wait_for(r"pairs-1\.1 .*epoch 5/40")
    search.ctrl_c()
    require_interrupted(place, search, "pairs-1")
    (damaged,) = (place.folder / "runs" / "pairs-1").glob(f"002-*/{LAST}")
    os.truncate(damaged, 1000)

    printed = place.run("search.run", "--resume", "pairs-1")
    assert "epoch 1/40" not in printed
    assert re.search(r"pairs-1\.2: the trial's checkpoint was damaged.* it starts again", printed)
    assert not list(damaged.parent.glob(f"{LAST}*"))
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
