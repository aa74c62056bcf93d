"""What is refused of a new search before anything of it is in a store."""

from dataclasses import replace

import pytest

from results.errors import InputError
from results.store import Store
from search.experiment import Experiment
from search.prepare import check_new, prepare_new
from search.resources import plan_resources

RESOURCES = {"concurrency": 1, "cpus_per_trial": 1, "gpus_per_trial": 0, "threads": 1}
TINY = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "epochs": 1, "warmup_epochs": 0}


def sparse(scope):
    """One point in twenty reads from more units than there are."""
    lr = scope.float("lr", 1e-4, 1e-2)
    return {"lr": lr, "ffn": "csc", "ffn.csc.hidden": 16, "ffn.csc.fanin": 64 if lr > 9.5e-3 else 2}


def dense(scope):
    return {"lr": scope.float("lr", 1e-4, 1e-2)}


SEARCH = Experiment(name="sparse", question="?", base=TINY, space=sparse, trials=4)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_space_with_points_that_cannot_be_trained_is_refused_with_the_mend(digits, sampler):
    with pytest.raises(InputError, match=r"space of 'sparse' has points that cannot .* narrow .*: \"ffn\.csc\.fanin\""):
        check_new("x.py", replace(SEARCH, sampler=sampler), plan_resources(**RESOURCES))


@pytest.mark.parametrize("checkpoints", [False, True])
def test_two_databases_never_share_a_search_folder(digits, tmp_path, checkpoints):
    shared = tmp_path / "shared"
    shared.mkdir()
    new = check_new("x.py", replace(SEARCH, space=dense), plan_resources(**RESOURCES))
    found = []
    for name in ("a.db", "b.db", "a.db"):
        place = tmp_path / name.removesuffix(".db") if checkpoints else tmp_path
        place.mkdir(exist_ok=True)
        with Store.open(f"sqlite:///{place / name}") as store:
            where = str(shared) if checkpoints else None
            found.append(prepare_new(store, new, notes="", tags=(), variants=(), checkpoints=where))
    folders = [prepared.trials_folder for prepared in found]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() and folder.parent == (shared if checkpoints else tmp_path) for folder in folders)
    assert [prepared.search_id for prepared in found] == ["sparse-1", "sparse-2", "sparse-3"]
    assert [len(prepared.notes) for prepared in found] == [0, 1, 1]
    assert found[1].notes[0].endswith("sparse-1 is there already, of another database; so this search is sparse-2.")
    if checkpoints:  # nothing is left of the numbers that were not taken
        assert [path.name for path in sorted((tmp_path / "b").glob("sparse-*"))] == ["sparse-2"]


def test_a_database_made_anew_where_one_was_deleted_takes_no_folder_of_it(digits, tmp_path):
    new = check_new("x.py", replace(SEARCH, space=dense), plan_resources(**RESOURCES))
    for expected in ("sparse-1", "sparse-2"):
        with Store.open(f"sqlite:///{tmp_path / 'arbor.db'}") as store:
            assert prepare_new(store, new, notes="", tags=(), variants=()).search_id == expected
        for path in tmp_path.glob("arbor.db*"):
            path.unlink()


@pytest.mark.parametrize(
    "changes",
    [
        {"space": None, "grid": [{"data": "digits"}, {"data": "nonsense"}]},
        {"space": lambda scope: {"data": scope.categorical("data", ("digits", "nonsense"))}},
        {"space": lambda scope: {**dense(scope), "data": "nonsense"}},
    ],
)
def test_all_trials_of_an_experiment_have_its_data_set(digits, changes):
    with pytest.raises(InputError, match=r"'sparse' train on one data set, 'digits', but .* data=nonsense; write an"):
        check_new("x.py", replace(SEARCH, **changes), plan_resources(**RESOURCES))


def test_a_seed_that_a_space_returns_is_refused(digits):
    with pytest.raises(InputError, match='A space must not return the key "seed"'):
        check_new("x.py", replace(SEARCH, space=lambda scope: {"seed": scope.int("seed", 0, 9)}),
                  plan_resources(**RESOURCES))  # fmt: skip


def test_what_no_point_of_a_space_can_be_is_said_as_it_is(digits):
    broken = replace(SEARCH, base={**TINY, "batch_size": 10_000})
    with pytest.raises(InputError, match=r'^"batch_size" must be at most'):
        check_new("x.py", broken, plan_resources(**RESOURCES))
