"""Searches whose trials have two workers each, on the cores of this machine."""

import sys
from pathlib import Path

import pytest

from results.errors import InputError
from results.store import ENDED
from search.gang import shape
from search.resources import available_cpus, plan_resources

sys.path.insert(0, str(Path(__file__).parent))
from gangs import TWO, ranks

GANG = ("--workers-per-trial", "2", "--concurrency", "1")


def plan(**wishes):
    return plan_resources(
        **{"concurrency": None, "cpus_per_trial": None, "gpus_per_trial": 0.0, "threads": None, **wishes}
    )


def require_whole(place, search_id, trials):
    """All trials have ended, with each of their epochs once."""
    with place.store() as store:
        rows = store.trials(search_id)
        assert len(rows) == trials
        for row in rows:
            assert row.status in ENDED
            assert row.status != "failed", row.cause
            assert [epoch.epoch for epoch in store.epochs(row.id)] == list(range(1, row.epochs + 1))
    return rows


def test_slots_count_all_workers_of_a_trial():
    cpus = available_cpus()
    resources = plan(workers_per_trial=cpus)
    assert (resources.concurrency, resources.cpus_per_trial, resources.threads) == (1, cpus, 1)
    one, many = plan(), plan(workers_per_trial=1)
    assert (one.concurrency, one.cpus_per_trial) == (many.concurrency, many.cpus_per_trial)
    crowded = plan(workers_per_trial=2, concurrency=2 * cpus)
    assert crowded.concurrency * crowded.cpus_per_trial == pytest.approx(cpus)


def test_a_trial_reserves_a_bundle_for_each_of_its_nodes():
    alone = shape(plan(workers_per_trial=2, cpus_per_trial=2.0))
    assert (alone.bundles, alone.strategy, alone.head_bundle_is_empty) == ([{"CPU": 2.0}], "PACK", True)
    spread = shape(plan(workers_per_trial=2, cpus_per_trial=2.0, nodes_per_trial=2, cluster=TWO))
    assert (spread.bundles, spread.strategy) == ([{"CPU": 1.0}, {"CPU": 1.0}], "STRICT_SPREAD")


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"workers_per_trial": 0}, '"--workers-per-trial" must be at least 1, but got 0'),
        (
            {"nodes_per_trial": 2},
            r'"--nodes-per-trial" must be from 1 to the machines of this cluster \(1\), but got 2',
        ),
        ({"nodes_per_trial": 2, "cluster": TWO}, 'workers of a trial must divide by "--nodes-per-trial"'),
        ({"nodes_per_trial": 2, "cluster": TWO, "workers_per_trial": 3}, r"\(workers=3, --nodes-per-trial 2\)"),
    ],
)
def test_a_gang_that_cannot_be_is_refused_in_a_sentence(wish, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(**wish)


@pytest.mark.slow
def test_twelve_gangs_in_a_row_one_with_a_killed_rank_leave_a_clean_audit_and_nothing_else(place):
    search = place.start("search.run", "tiny.py", *GANG, "--trials", "12", "--epochs", "10", "--set", "dropout=0.0")
    search.wait_for(r"tiny-1\.1 .*epoch 1/10")  # a first trial goes on at every rung
    first = ranks(place.left())
    assert len(first) == 2
    leader = place.worker_of("tiny-1.1").pid
    (victim,) = [process for process in first if process.pid != leader]
    victim.kill()
    search.wait_for(r"tiny-1\.1: the process of rank 1 died, of the trial's 2 workers after epoch \d+; it starts again")
    assert search.finish() == 0, search.output
    assert "Traceback" not in search.output
    assert "2 workers" in search.output
    rows = require_whole(place, "tiny-1", 12)
    assert {row.provenance["workers"] for row in rows} == {2}
    assert any(row.status == "stopped" for row in rows)
    place.run("results.audit", "tiny-1")
    finished = next(row for row in rows if row.status == "finished")
    printed = place.run("trainer.replay", finished.id)  # by one process
    assert "Verdict: within tolerance" in printed
    assert "workers: 2 -> 1 (sums in another order)" in printed
    place.wait_until_gone(60)


@pytest.mark.long
def test_a_search_goes_on_with_another_number_of_workers(place):
    search = place.start("search.run", "pairs.py", *GANG, "--epochs", "15")
    search.wait_for(r"pairs-1\.1 .*epoch 2/15")
    search.ctrl_c()
    assert search.finish() == 130, search.output
    place.run("search.run", "--resume", "pairs-1", "--workers-per-trial", "1", "--concurrency", "2")
    require_whole(place, "pairs-1", 2)
    with place.store() as store:
        (change,) = store.search("pairs-1").provenance["changes"]
    assert "workers_per_trial: 2 -> 1" in change["changed"]
    place.wait_until_gone(60)
