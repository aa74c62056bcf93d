"""The sampler asks the same after a rebuild as it would have without one, and hears the truth about each trial."""

import pytest

from results.errors import InputError
from search.experiment import Experiment
from search.sampler import Sampler
from search.space import suggest_ffn


def space(scope):
    ffn = suggest_ffn(scope, ("mlp", "fff"))
    return {**ffn, "lr": scope.float("lr", 1e-4, 1e-2, log=True)}


def experiment(**changes):
    settings = {"name": "toy", "question": "?", "base": {"epochs": 9}, "space": space, "trials": 30}
    return Experiment(**{**settings, **changes})


def score(flat):
    return 0.5 + (0.2 if flat["ffn"] == "fff" else 0.0) - abs(flat["lr"] - 1e-3)


def live(sampler, numbers):
    """Ask and tell as a search on one slot would: every third trial is stopped after one epoch."""
    flats = []
    for number in numbers:
        flat = sampler.ask(number)
        sampler.report(number, 1, score(flat))
        stopped = number % 3 == 0
        sampler.tell(number, "stopped" if stopped else "finished", score(flat))
        flats.append(flat)
    return flats


def rebuilt(flats, **changes):
    sampler = Sampler(experiment(**changes), 5)
    for number, flat in enumerate(flats, start=1):
        sampler.recall(number, flat)
        sampler.report(number, 1, score(flat))
        sampler.tell(number, "stopped" if number % 3 == 0 else "finished", score(flat))
    return sampler


@pytest.mark.parametrize("cut", [1, 4, 9, 14])
def test_a_study_rebuilt_from_the_store_suggests_what_the_uninterrupted_one_did(cut):
    whole = live(Sampler(experiment(), 5), range(1, 19))
    resumed = rebuilt(whole[:cut])
    assert live(resumed, range(cut + 1, 19)) == whole[cut:]


def test_two_search_seeds_ask_differently():
    one = live(Sampler(experiment(), 5), range(1, 6))
    other = live(Sampler(experiment(search_seed=1), 5), range(1, 6))
    assert one != other


def test_a_stopped_trial_is_pruned_and_a_diverged_one_failed():
    sampler = Sampler(experiment(), 5)
    for number, status in ((1, "finished"), (2, "stopped"), (3, "diverged"), (4, "plateau")):
        sampler.ask(number)
        sampler.report(number, 1, 0.5)
        sampler.tell(number, status, 0.5)
    states = [trial.state.name for trial in sampler.study.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert sampler.study.trials[1].intermediate_values == {1: 0.5}


def test_a_fixed_key_is_never_asked_for_and_reaches_only_its_own_kind():
    sampler = Sampler(experiment(fixed={"lr": "0.002", "ffn.fff.depth": "3"}), 5)
    flats = [sampler.ask(number) for number in range(1, 15)]
    assert {flat["lr"] for flat in flats} == {0.002}
    trees = [flat for flat in flats if flat["ffn"] == "fff"]
    assert trees
    assert {flat["ffn.fff.depth"] for flat in trees} == {3}
    assert not any(key.startswith("ffn.fff") for flat in flats if flat["ffn"] == "mlp" for key in flat)


def test_ranges_of_an_experiment_narrow_a_kinds_own():
    sampler = Sampler(experiment(ranges={"ffn.fff.depth": (4, 5)}), 5)
    depths = {flat["ffn.fff.depth"] for flat in (sampler.ask(n) for n in range(1, 30)) if flat["ffn"] == "fff"}
    assert depths <= {4, 5}


def test_no_variant_is_suggested_twice_and_a_used_up_space_says_so():
    def small(scope):
        return {"ffn": "mlp", "ffn.mlp.hidden": scope.int("ffn.mlp.hidden", 1, 3)}

    sampler = Sampler(experiment(space=small), 2)
    asked = []
    while (flat := sampler.ask(len(asked) + 1)) is not None:
        asked.append(flat["ffn.mlp.hidden"])
        sampler.tell(len(asked), "finished", 0.5)
    assert sorted(asked) == [1, 2, 3]


def test_a_changed_space_is_refused_when_a_search_is_resumed():
    stored = live(Sampler(experiment(), 5), range(1, 3))
    narrowed = Sampler(experiment(ranges={"lr": (0.5, 0.6)}), 5)
    with pytest.raises(InputError, match="space of 'toy' has changed"):
        narrowed.recall(1, stored[0])


def test_an_unknown_sampler_is_refused():
    with pytest.raises(InputError, match="Unknown sampler 'annealing'; known: tpe, random"):
        Sampler(experiment(sampler="annealing"), 5)
