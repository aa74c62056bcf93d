"""Shares of this machine, and the refusal of more than there is."""

import pytest

from results.errors import InputError
from search.resources import available_cpus, plan_resources

NOTHING = {"concurrency": None, "cpus_per_trial": None, "gpus_per_trial": None, "threads": None}


def test_without_wishes_the_machine_is_used_and_not_overbooked():
    plan = plan_resources(**NOTHING)
    assert plan.concurrency >= 1
    assert plan.concurrency * plan.cpus_per_trial <= plan.cpus
    assert plan.concurrency * plan.gpus_per_trial <= plan.gpus


def test_more_trials_at_once_than_cores_share_them():
    plan = plan_resources(**{**NOTHING, "concurrency": 4 * available_cpus(), "gpus_per_trial": 0.0})
    assert plan.cpus_per_trial == pytest.approx(0.25)
    assert plan.threads == 1


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"concurrency": 0}, '"--concurrency" must be at least 1, but got 0'),
        ({"cpus_per_trial": 10_000.0}, "must be at most the CPUs of this machine"),
        ({"gpus_per_trial": 64.0}, "must be at most the GPUs of this machine"),
        ({"cpus_per_trial": -1.0}, '"--cpus-per-trial" must be at least 0, but got -1'),
        ({"gpus_per_trial": -0.5}, '"--gpus-per-trial" must be at least 0, but got -0.5'),
    ],
)
def test_more_than_there_is_and_less_than_nothing_are_refused(wish, sentence):
    with pytest.raises(InputError, match=sentence):
        plan_resources(**{**NOTHING, **wish})


def test_more_trials_at_once_than_their_cpus_allow_are_refused():
    with pytest.raises(InputError, match="must be at most what this machine has room for"):
        plan_resources(
            **{**NOTHING, "concurrency": 2, "cpus_per_trial": float(available_cpus()), "gpus_per_trial": 0.0}
        )
