"""Experiments by name and by path, and what is refused."""

import json

import numpy as np
import pytest

from results.errors import InputError
from search import catalog
from search.experiment import Experiment, comparison_plan
from search.match import size_of
from search.prepare import Overrides
from trainer.config import TrialConfig

TRAINED = [name for name in catalog.names() if isinstance(catalog.find(name), Experiment)]


@pytest.mark.parametrize("name", TRAINED)
def test_every_experiment_is_complete_and_asks_a_question(name):
    experiment = catalog.load(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")
    flats = comparison_plan(experiment) if experiment.is_comparison else [{**experiment.base, "seed": 0}]
    for flat in flats:
        assert 1 <= TrialConfig.from_flat(flat).epochs <= experiment.epochs


def test_the_experiments_of_the_first_release_are_there():
    assert {"quickstart", "seed_recipe", "baseline", "fff_vs_dense"} <= set(catalog.names())


def test_an_experiment_of_ones_own_is_loaded_by_its_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from search.experiment import Experiment\n"
        "def mine() -> Experiment:\n"
        '    """Does it load?"""\n'
        '    return Experiment(base={"epochs": 2}, grid=[{"dim": 8}])\n'
    )
    assert catalog.load(str(path)).question == "Does it load?"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "There is no experiment file"),
        ("x = 1", r"must define a function mine\(\)"),
        ("def mine():\n    '''Why?'''\n    return 3", "must return an Experiment, but returned int"),
        ("def mine(:", "could not be loaded: SyntaxError"),
        (
            "from search.experiment import Experiment\ndef mine():\n    return Experiment(grid=[{}])",
            "needs a docstring",
        ),
        (
            "from search.experiment import Experiment\ndef mine():\n    '''?'''\n    return Experiment()",
            'either a "space"',
        ),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_with_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        catalog.load(str(path))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("single", "cannot be called 'single', as the trials of trainer.run are"), ("x" * 101, "at most 100 bytes")],
)
def test_a_name_that_no_search_can_have_is_refused(tmp_path, name, sentence):
    path = tmp_path / f"{name}.py"
    path.write_text(
        f"from search.experiment import Experiment\ndef {name}():\n    '?'\n    return Experiment(grid=[{{}}])"
    )
    with pytest.raises(InputError, match=sentence):
        catalog.load(str(path))


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Unknown experiment 'quickstrat'; did you mean 'quickstart'"):
        catalog.load("quickstrat")


def test_a_key_in_which_variants_differ_cannot_be_fixed():
    experiment = catalog.load("baseline")
    with pytest.raises(InputError, match=r"differ in 'ffn\.mlp\.hidden'"):
        experiment.with_fixed({"ffn.mlp.hidden": 3})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trials": 0}, '"trials" must be at least 1'),
        ({"reduction": 1}, '"reduction" must be at least 2'),
        ({"grace": 0}, '"grace" must be at least 1'),
        ({"grace": 5, "base": {"epochs": 4}}, r'"grace" must be at most "epochs", but got \(grace=5, epochs=4\)'),
        ({"base": {"epochs": 0}}, '"epochs" must be at least 1, but got 0'),
        ({"seeds": ()}, '"seeds" must be at least 1'),
        ({"seeds": (1, 1)}, '"seeds" must differ'),
    ],
)
def test_budgets_out_of_range_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Experiment(**{"space": lambda scope: {}, "base": {"epochs": 9}, **changes})


def test_a_shorter_horizon_and_the_grace_that_fits_it_are_given_together():
    experiment = catalog.load("search_all")
    assert Overrides(epochs=1, grace=1).apply(experiment).rungs == ()
    assert Overrides(epochs=90, grace=40).apply(experiment).rungs == (40,)
    with pytest.raises(InputError, match=r'"grace" must be at most "epochs", but got \(grace=3, epochs=1\)'):
        Overrides(epochs=1).apply(experiment)


def test_numpy_scalars_are_kept_as_pythons_own():
    number = np.float64(1e-3)
    comparison = Experiment(
        base={"lr": number}, fixed={"dropout": number}, baseline={"lr": number}, grid=[{"dim": np.int64(8)}],
        seeds=tuple(np.arange(2)), tune_lr=tuple(np.array([0.5, 2.0])), search_seed=np.int64(3),
    )  # fmt: skip
    search = Experiment(space=lambda scope: {}, ranges={"lr": (number, number)}, trials=np.int64(4))
    fields = (comparison.base, comparison.fixed, comparison.baseline, comparison.grid, comparison.seeds,
              comparison.tune_lr, comparison.search_seed, search.ranges, search.trials)  # fmt: skip
    assert json.loads(json.dumps(fields)) == [
        {"lr": 1e-3}, {"dropout": 1e-3}, {"lr": 1e-3}, [{"dim": 8}], [0, 1], [0.5, 2.0], 3, {"lr": [1e-3, 1e-3]}, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sampler": None}, '"sampler" must be a name such as "tpe" or "random", but got None.'),
        ({"scheduler": None}, '"scheduler" must be a name such as "asha", or "none", but got None.'),
        ({"grid": [{1: 2}]}, r'A key must be text such as "lr", but got 1 in \{1: 2\}\.'),
    ],
)
def test_fields_of_another_type_are_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Experiment(**{"grid": [{}], **changes})


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("baseline", {"search_seed": 3}, "--seed does not apply"),
        ("baseline", {"pooled_rungs": True}, "--pooled-rungs does not apply"),
        (
            "quickstart",
            {"scheduler": "none", "grace": 1},
            "The scheduler 'none' stops no trial, so --grace does not apply",
        ),
        ("quickstart", {"scheduler": "none", "pooled_rungs": True}, "so --pooled-rungs does not apply"),
        ("quickstart", {"epochs": 4, "fixed": {"epochs": "5"}}, "given once, but got --epochs 4 and --set epochs=5"),
        ("quickstart", {"fixed": {"ffn.mine.hidden": "5"}}, "Unknown feed-forward kind 'mine'.* needs --variants PATH"),
    ],
)
def test_options_that_would_change_nothing_are_refused(name, given, sentence):
    with pytest.raises(InputError, match=sentence):
        Overrides(**given).apply(catalog.load(name))


def test_there_is_an_experiment_for_each_idea_and_the_one_table_of_all():
    assert {
        "csc", "dense_rows", "dense_sizes", "fff_depth", "fff_fanout", "flat", "ideas", "level_rates", "matched", "pairs",
        "rate_screen", "search_all", "soft_vs_hard", "tree_or_dense",
    } <= set(catalog.names())  # fmt: skip


def test_a_pair_of_half_the_width_has_the_parameters_of_a_single_layer():
    parameters = {}
    for flat in comparison_plan(catalog.load("pairs")):
        config = TrialConfig.from_flat(flat).model
        parameters[config.layout, config.ffn.hidden] = size_of(config, "parameters")
    for hidden in (64, 128, 256, 512):
        assert parameters["pair", hidden // 2] == parameters["single", hidden] + 512, "a second output bias, no more"
