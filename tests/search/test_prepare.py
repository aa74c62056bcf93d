"""What is refused of a new search before anything of it is in a store."""

from dataclasses import replace

import pytest

from results.errors import InputError
from search.experiment import Experiment
from search.prepare import check_new
from search.resources import plan_resources

RESOURCES = {"concurrency": 1, "cpus_per_trial": 1, "gpus_per_trial": 0, "threads": 1}
TINY = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "epochs": 1, "warmup_epochs": 0}


def sparse(scope):
    """One point in twenty reads from more units than there are."""
    lr = scope.float("lr", 1e-4, 1e-2)
    return {"lr": lr, "ffn": "csc", "ffn.csc.hidden": 16, "ffn.csc.fanin": 64 if lr > 9.5e-3 else 2}


SEARCH = Experiment(name="sparse", question="?", base=TINY, space=sparse, trials=4)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_space_with_points_that_cannot_be_trained_is_refused_with_the_mend(digits, sampler):
    with pytest.raises(InputError, match=r"space of 'sparse' has points that cannot .* narrow .*: \"ffn\.csc\.fanin\""):
        check_new("x.py", replace(SEARCH, sampler=sampler), plan_resources(**RESOURCES))


def test_what_no_point_of_a_space_can_be_is_said_as_it_is(digits):
    broken = replace(SEARCH, base={**TINY, "batch_size": 10_000})
    with pytest.raises(InputError, match=r'^"batch_size" must be at most'):
        check_new("x.py", broken, plan_resources(**RESOURCES))
