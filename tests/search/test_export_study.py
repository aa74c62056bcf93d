"""A search as an Optuna study: what Optuna reads back is what the store holds."""

import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from typer.testing import CliRunner

from results.errors import InputError
from results.ingest import ingest
from search.export_study import app

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from recorded import new_store, search, trial


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def export(store, name, file):
    return CliRunner().invoke(app, [name, str(file), "--storage", store.url])


def studied(store, name, file):
    done = export(store, name, file)
    assert done.exit_code == 0, done.exception
    return optuna.load_study(study_name=name, storage=f"sqlite:///{file}")


def test_trials_come_back_with_their_keys_curves_and_ends(store, tmp_path):
    name = search(store, rungs=(1,))
    trial(store, name, [0.3, 0.5, 0.6], hidden=8, lr=1e-3, seed=3)
    trial(store, name, [0.2], status="stopped", hidden=64, lr=1e-2)
    trial(store, name, [], status="diverged", hidden=16, lr=5e-3)
    trial(store, name, [], status="pending", ffn="fff", hidden=4, lr=2e-3)
    study = studied(store, name, tmp_path / "study.db")
    first, second, third, fourth = study.trials
    assert (first.state, first.value, first.intermediate_values) == (TrialState.COMPLETE, 0.6, {1: 0.3, 2: 0.5, 3: 0.6})
    assert first.params == {"ffn": "mlp", "ffn.mlp.hidden": 8, "lr": 1e-3}
    assert (first.user_attrs["trial"], first.user_attrs["seed"]) == (f"{name}.1", 3)
    assert (second.state, second.intermediate_values) == (TrialState.PRUNED, {1: 0.2})
    assert (third.state, fourth.state) == (TrialState.FAIL, TrialState.WAITING)
    assert fourth.params == {"ffn": "fff", "lr": 2e-3}  # no other tree differs from it in its hidden
    assert study.user_attrs["common"]["ffn.fff.hidden"] == 4
    assert study.best_trial.number == 0
    assert study.user_attrs["common"]["epochs"] == 3
    assert study.metric_names == ["val_acc"]


def test_ranges_are_those_that_were_tried_and_wide_ones_are_logarithmic(store, tmp_path):
    name = search(store)
    for hidden, lr, dropout, patience in ((8, 1e-3, 0.1, None), (64, 3e-3, 0.2, 5)):
        trial(store, name, [0.5], hidden=hidden, lr=lr, dropout=dropout, patience=patience)
    distributions = studied(store, name, tmp_path / "study.db").trials[0].distributions
    assert distributions["ffn.mlp.hidden"] == IntDistribution(8, 64)
    assert distributions["lr"] == FloatDistribution(1e-3, 3e-3)
    assert distributions["patience"] == CategoricalDistribution((None, 5))
    trial(store, name, [0.5], hidden=80, lr=1e-1, dropout=0.1, patience=None)
    distributions = studied(store, name, tmp_path / "again.db").trials[0].distributions
    assert distributions["ffn.mlp.hidden"] == IntDistribution(8, 80, log=True)
    assert distributions["lr"] == FloatDistribution(1e-3, 1e-1, log=True)


def test_trials_that_tuned_a_rate_are_no_results_of_the_study_and_that_is_said(store, tmp_path):
    name = search(store, grid=True)
    tuned = trial(store, name, [0.9], hidden=8)
    store.update_trial(tuned, provenance={"lr_tuning": 1e-3})
    for hidden in (8, 16):
        trial(store, name, [0.5], hidden=hidden)
    result = export(store, name, tmp_path / "study.db")
    assert "; 1 trial that tuned a learning rate is passed over." in result.output
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
    assert [each.value for each in study.trials] == [0.5, 0.5]


def test_a_file_holds_several_studies_but_none_twice(store, tmp_path):
    first, second = search(store), search(store)
    for name in (first, second):
        trial(store, name, [0.5])
        studied(store, name, tmp_path / "study.db")
    assert set(optuna.get_all_study_names(f"sqlite:///{tmp_path}/study.db")) == {first, second}
    refused = export(store, first, tmp_path / "study.db").exception
    assert isinstance(refused, InputError)
    assert f"has a study {first!r} already" in str(refused)


def test_imported_trials_have_their_own_value_under_its_own_name(store, tmp_path):
    (tmp_path / "old.txt").write_text(
        "Experiment:\n\tarch: a\n\tbest_val_acc: 80\n\nExperiment:\n\tarch: b\n\tbest_val_acc: nan\n"
    )
    name = ingest(tmp_path / "old.txt", store.url).search
    study = studied(store, name, tmp_path / "study.db")
    assert study.metric_names == ["best_test_acc"]
    assert [(one.state, one.params["arch"]) for one in study.trials] == [
        (TrialState.COMPLETE, "a"),
        (TrialState.FAIL, "b"),
    ]
    assert study.best_value == 0.8


@pytest.mark.parametrize("target", ["arbor.db", "text.txt", "no/study.db", "."])
def test_what_is_not_a_file_of_studies_is_refused_and_stays_as_it_was(store, tmp_path, target):
    name = search(store)
    trial(store, name, [0.5])
    (tmp_path / "text.txt").write_text("hello")
    refused = export(store, name, tmp_path / target).exception
    assert isinstance(refused, InputError)
    assert (tmp_path / "text.txt").read_text() == "hello"
    assert [trial_row.status for trial_row in store.trials(name)] == ["finished"]
    assert {path.name for path in tmp_path.iterdir()} <= {"arbor.db", "arbor.db-wal", "arbor.db-shm", "text.txt"}


def test_an_unknown_search_makes_no_file(store, tmp_path):
    search(store)
    refused = export(store, "toy-7", tmp_path / "study.db").exception
    assert isinstance(refused, InputError)
    assert not (tmp_path / "study.db").exists()
