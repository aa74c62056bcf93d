"""Names of trials: run folders, Ray's dashboard, TensorBoard's columns."""

from search.experiment import Experiment
from search.space import suggest_ffn
from search.told import display_name, hparams, slug, varied

BASE = {"data": "digits", "epochs": 4, "lr": 1e-3}


def comparison(**changes):
    grid = [{"ffn": "mlp", "ffn.mlp.hidden": 8}, {"ffn": "fff", "ffn.fff.depth": 2}, {"ffn": "fff", "ffn.fff.depth": 3}]
    return Experiment(base=BASE, grid=grid, **changes)


def test_a_name_has_the_kind_and_what_was_chosen_and_is_safe_in_a_shell_and_as_a_folder():
    flat = {"ffn": "fff", "ffn.fff.depth": 3, "ffn.fff.trees": 2, "lr": 0.0021, "layout": "pair", "seed": 7}
    assert slug(flat, ["lr", "ffn.fff.depth"]) == "fff-depth=3-lr=0.0021"
    assert slug(flat, []) == "fff"
    assert slug(flat, ["layout", "seed"]) == "fff-pair-seed=7"
    odd = slug({"ffn": "own", "ffn.own.path": "../a b\x1b[31m'$(x)" + "y" * 200, "seed": 0}, ["ffn.own.path"])
    assert set("/ '$()\x1b") & set(odd) == set()
    assert len(odd) == 80
    assert display_name({"trial": "tiny-1.7", "folder": "/runs/tiny-1/007-fff-depth=3"}) == "tiny-1.7-fff-depth=3"


def test_a_comparison_tells_the_keys_in_which_its_variants_differ_and_seeds_where_there_are_several():
    assert varied(comparison(seeds=(0,))) == ["ffn", "ffn.mlp.hidden", "ffn.fff.depth"]
    assert hparams(comparison(seeds=(0, 1))) == {
        "ffn": "text", "ffn.mlp.hidden": "number", "ffn.fff.depth": "number", "seed": "number",
    }  # fmt: skip
    assert list(hparams(comparison(seeds=(0,), tune_lr=(0.5, 1.0)))) == [
        "ffn", "ffn.mlp.hidden", "ffn.fff.depth", "lr", "seed",
    ]  # fmt: skip


def test_a_search_tells_the_keys_that_its_space_samples_with_their_types():
    def space(scope):
        ffn = suggest_ffn(scope, ("mlp", "fff"))
        return {
            **ffn,
            "lr": scope.float("lr", 1e-3, 1e-2),
            "deterministic": scope.categorical("deterministic", (False, True)),
        }

    experiment = Experiment(base=BASE, space=space, fixed={"ffn.mlp.hidden": 8})
    told = hparams(experiment)
    assert told["ffn"] == "text"
    assert told["ffn.fff.depth"] == told["lr"] == "number"
    assert told["deterministic"] == "flag"
    assert not {"ffn.mlp.hidden", "data", "epochs", "seed"} & set(told)
    assert varied(experiment) == []
