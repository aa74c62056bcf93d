"""The sampler asks the same after a rebuild as it would have without one, and hears the truth about each trial."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from arch_space.registry import FFN
from results.errors import InputError
from search.experiment import Experiment
from search.sampler import Past, Sampler
from search.samplers import build_sampler, limits
from search.space import StudyScope, even_points, suggest_ffn, whole_points
from search.window import MODELLED, MODELLED_BEST, Window


def space(scope):
    ffn = suggest_ffn(scope, ("mlp", "fff"))
    return {**ffn, "lr": scope.float("lr", 1e-4, 1e-2, log=True)}


def experiment(**changes):
    settings = {"name": "toy", "question": "?", "base": {"epochs": 9}, "space": space, "trials": 30}
    return Experiment(**{**settings, **changes})


def score(flat):
    return 0.5 + (0.2 if flat["ffn"] == "fff" else 0.0) - abs(flat.get("lr", 1e-3) - 1e-3)


def size(flat):
    return sum(value for key, value in flat.items() if key.startswith("ffn.") and isinstance(value, int))


def status(number):
    """Every third trial is stopped after one epoch, the tenth diverges."""
    return "diverged" if number == 10 else "stopped" if number % 3 == 0 else "finished"


def values(number, flat, objectives):
    accuracy = None if status(number) == "diverged" else score(flat)
    return [accuracy, size(flat)][: len(objectives)]


class Slots:
    """A sampler asked and told as by a search with so many slots, and rebuilt from what a store would have."""

    def __init__(self, settings, slots, startup=4):
        self.settings, self.slots, self.startup = settings, slots, startup
        self.sampler = Sampler(settings, startup)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.past = []

    def ask(self):
        number = len(self.past) + 1
        flat = self.sampler.ask(number)
        self.now += timedelta(seconds=1)
        if flat is not None:
            self.past.append(Past(number=number, config=flat, curve=(), asked=self.now, ended=None, status="running",
                                  values=(), drawn=self.sampler.drawn(number)))  # fmt: skip
        return flat

    def end(self, number):
        each = self.past[number - 1]
        reached = values(number, each.config, self.settings.objectives)
        if reached[0] is not None:
            self.sampler.report(number, 1, reached[0])
        self.sampler.tell(number, status(number), reached)
        self.now += timedelta(seconds=1)
        self.past[number - 1] = replace(
            each, curve=(reached[0],), ended=self.now, status=status(number), values=reached
        )

    def rebuild(self):
        self.sampler = Sampler(self.settings, self.startup)
        assert self.sampler.take_up(self.past)

    def run(self, trials, rebuild):
        """With `rebuild`, the process is killed at every trial: between an end's commit and tell, between ask and insert."""
        live = []
        for _ in range(trials):
            if rebuild:
                self.sampler.ask(len(self.past) + 1)  # killed before it is in the store
                self.rebuild()
            if self.ask() is None:
                break
            live.append(len(self.past))
            if len(live) == self.slots:
                self.end(live.pop(len(self.past) % self.slots))  # not in the order of their start
        return [each.config for each in self.past]


def discrete(scope):
    ffn = scope.categorical("ffn", ("mlp", "fff"))
    key = {"mlp": "ffn.mlp.hidden", "fff": "ffn.fff.depth"}[ffn]
    return {"ffn": ffn, key: scope.int(key, 1, 6), "layout": scope.categorical("layout", ("single", "pair"))}


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("objectives", [("val_acc",), ("val_acc", "parameters")], ids=len)
@pytest.mark.parametrize(
    "name", ["tpe", "random", "gp", "nsgaii", "grid", "QMCSampler", "NSGAIIISampler", "TPESampler"]
)
def test_a_sampler_rebuilt_after_every_trial_suggests_what_the_uninterrupted_one_did(name, objectives, slots):
    settings = experiment(sampler=name, objectives=objectives)
    trials = 10 if name == "gp" else 24
    whole = Slots(settings, slots).run(trials, rebuild=False)
    assert Slots(settings, slots).run(trials, rebuild=True) == whole
    assert len(whole) == trials


@pytest.mark.parametrize("name", ["grid", "BruteForceSampler", "tpe"])
def test_a_used_up_space_is_the_same_whether_rebuilt_or_not(name):
    settings = experiment(sampler=name, space=discrete)
    whole = Slots(settings, 1).run(40, rebuild=False)
    assert Slots(settings, 1).run(40, rebuild=True) == whole
    combinations = 2 * (5 + 5) if name == "grid" else 2 * (6 + 6)
    assert len(whole) == len({tuple(sorted(flat.items())) for flat in whole})
    assert len(whole) == combinations


def test_a_sampler_that_asks_otherwise_than_it_did_says_so_and_knows_the_trials_all_the_same():
    settings = experiment(sampler="nsgaii")
    slots = Slots(settings, 1)
    slots.run(8, rebuild=False)
    other = Sampler(replace(settings, search_seed=9), 4)
    assert not other.take_up(slots.past)
    known = [trial for trial in other.study.trials if trial.state.name == "COMPLETE"]
    assert [trial.value for trial in known] == [each.values[0] for each in slots.past if each.status == "finished"]
    assert other.ask(9) is not None


def test_a_grid_takes_both_ends_of_every_range_and_even_steps_between():
    assert even_points(1.0, 3.0, 5, log=False) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert even_points(1e-4, 1e-2, 3, log=True) == [1e-4, pytest.approx(1e-3), 1e-2]
    assert even_points(2.0, 2.0, 5, log=False) == [2.0]
    assert whole_points(1, 3, 5, log=False, step=1) == [1, 2, 3]
    assert whole_points(8, 128, 5, log=True, step=1) == [8, 16, 32, 64, 128]
    assert whole_points(0, 10, 3, log=False, step=4) == [0, 4, 8]
    assert whole_points(0, 100, 3, log=False, step=7) == [0, 49, 98]


def test_two_objectives_reach_the_study_and_what_stopped_has_no_values():
    sampler = Slots(experiment(sampler="nsgaii", objectives=("val_acc", "macs")), 1)
    flats = sampler.run(4, rebuild=False)
    trials = sampler.sampler.study.trials
    assert [trial.values for trial in trials[:2]] == [[score(flat), size(flat)] for flat in flats[:2]]
    assert (trials[2].state.name, trials[2].values) == ("PRUNED", None)


def test_two_search_seeds_ask_differently():
    one = Slots(experiment(), 1).run(5, rebuild=False)
    assert one != Slots(experiment(search_seed=1), 1).run(5, rebuild=False)


def test_a_stopped_trial_is_pruned_and_a_diverged_one_failed():
    sampler = Sampler(experiment(), 5)
    for number, status in ((1, "finished"), (2, "stopped"), (3, "diverged"), (4, "plateau")):
        sampler.ask(number)
        sampler.report(number, 1, 0.5)
        sampler.tell(number, status, [0.5])
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


@pytest.mark.parametrize("where", ["base", "fixed"])
def test_a_key_that_a_kind_does_not_ask_for_is_that_of_the_experiment(where):
    sampler = Sampler(
        experiment(**{where: {"epochs": 9, "ffn.fff.level_lr_ratio": 0.7, "ffn.mlp.activation": "relu"}}), 5
    )
    flats = [sampler.ask(number) for number in range(1, 15)]
    for kind, key, value in (("fff", "level_lr_ratio", 0.7), ("mlp", "activation", "relu")):
        own = [flat for flat in flats if flat["ffn"] == kind]
        assert own
        assert {flat[f"ffn.{kind}.{key}"] for flat in own} == {value}


def test_what_a_kind_asks_for_is_drawn_whatever_the_base_says_also_where_it_is_the_default():
    sampler = Sampler(experiment(base={"epochs": 9, "ffn.fff.depth": 77}), 5)
    depths = {flat["ffn.fff.depth"] for flat in (sampler.ask(n) for n in range(1, 60)) if flat["ffn"] == "fff"}
    assert 77 not in depths
    assert FFN.config("fff")().depth in depths


def test_a_fixed_key_also_replaces_what_a_space_gives_as_a_constant():
    def constant(scope):
        return {"ffn": "mlp", "ffn.mlp.hidden": 8, "dropout": 0.3, "lr": scope.float("lr", 1e-4, 1e-2)}

    flat = Sampler(experiment(space=constant, fixed={"dropout": "0.1", "ffn.mlp.hidden": "16"}), 5).ask(1)
    assert (flat["dropout"], flat["ffn.mlp.hidden"]) == ("0.1", "16")


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
        sampler.tell(len(asked), "finished", [0.5])
    assert sorted(asked) == [1, 2, 3]


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii"])
def test_a_space_is_used_up_only_when_its_last_variant_was_tried_though_none_draws_it(name):
    def rare(scope):
        """Draws find the first variant at once, and the second once in two thousand."""
        return {"ffn": "mlp", "ffn.mlp.hidden": 9 if scope.int("coin", 1, 2000) == 1977 else 8}

    slots, killed = Slots(experiment(sampler=name, space=rare), 1), Slots(experiment(sampler=name, space=rare), 1)
    assert sorted(flat["ffn.mlp.hidden"] for flat in slots.run(3, rebuild=False)) == [8, 9]
    assert slots.sampler.all_tried
    assert killed.run(3, rebuild=True) == [each.config for each in slots.past]


@pytest.mark.parametrize(("low", "high"), [(1, 2), (1.0, 2.0)])
def test_where_a_space_is_too_large_to_be_walked_nobody_says_that_all_was_tried(low, high):
    def same(scope):
        if isinstance(low, float):
            scope.float("coin", low, high)
        else:
            for key in range(14):
                scope.int(f"coin{key}", low, high)
        return {"ffn": "mlp"}

    sampler = Sampler(experiment(space=same), 4)
    assert sampler.ask(1) is not None
    assert sampler.ask(2) is None
    assert not sampler.all_tried


@pytest.mark.parametrize(
    ("choices", "given", "expected"),
    [
        ((0.001, 0.002), "1e-3", 0.001),
        ((0.0, 0.1), "0", 0.0),
        ((8, 16), "16", 16),
        ((None, 5), "none", None),
        ((None, 5), "5", 5),
        ((True, False), "false", False),
        (("adamw", "sgd"), "sgd", "sgd"),
        (("1", "2"), 2, "2"),
        (np.array([8, 16]), "8", 8),
    ],
)
def test_a_fixed_choice_is_compared_by_value(choices, given, expected):
    scope = StudyScope(optuna.trial.FixedTrial({}), {}, {"key": given})
    assert repr(scope.categorical("key", choices)) == repr(expected)
    with pytest.raises(InputError, match=r"offers .* for 'key', but it is fixed to 3e-3"):
        StudyScope(optuna.trial.FixedTrial({}), {}, {"key": "3e-3"}).categorical("key", choices)


@pytest.mark.parametrize("name", ["tpe", "random", "nsgaii"])
def test_a_point_that_is_not_accepted_fails_and_the_next_is_asked_for(name):
    settings = experiment(sampler=name, space=discrete)
    refused = []

    def accepts(flat):
        small = flat.get("ffn.fff.depth", 0) < 4
        if not small:
            refused.append(flat)
        return small

    sampler, plain = Sampler(settings, 4, accepts), Sampler(settings, 4)
    asked = [sampler.ask(number) for number in range(1, 13)]
    assert all(accepts(flat) for flat in asked)
    assert refused
    assert any(plain.ask(number) in refused for number in range(1, 13))
    assert len({tuple(sorted(flat.items())) for flat in refused}) == len(refused)
    failed = [trial for trial in sampler.study.trials if trial.state.name == "FAIL"]
    assert len(failed) >= len(refused)
    again = Sampler(settings, 4, accepts)
    assert [again.ask(number) for number in range(1, 13)] == asked


def test_a_changed_space_is_refused_when_a_search_is_resumed():
    stored = Slots(experiment(), 1).run(2, rebuild=False)
    narrowed = Sampler(experiment(ranges={"lr": (0.5, 0.6)}), 5)
    with pytest.raises(InputError, match="space of 'toy' has changed"):
        narrowed.recall(1, stored[0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sampler": "annealing"}, "Unknown sampler 'annealing'; known: tpe, random, gp, nsgaii, grid, BruteForceSampler"),
        ({"sampler": "CmaEsSample"}, "Unknown sampler 'CmaEsSample'; did you mean 'CmaEsSampler'?"),
        ({"sampler": "nsga2"}, "did you mean 'nsgaii'?"),
        ({"sampler": "nsgaii."}, "did you mean 'nsgaii'?"),
        ({"sampler": "PartialFixedSampler"}, "needs settings that only code can give; known: tpe"),
        ({"sampler": "GridSampler"}, "needs settings that only code can give; known: tpe"),
        ({"sampler": "BaseSampler"}, "Unknown sampler 'BaseSampler'"),
        ({"sampler": "BruteForceSampler"}, "cannot be sampled"),  # a range without steps
        ({"objectives": ("parameters",)}, '"objectives" must be val_acc, alone or with one of parameters, neurons_used'),
        ({"objectives": ("val_acc", "macs", "parameters")}, '"objectives" must be val_acc'),
        ({"objectives": ()}, "but got none"),
        ({"objectives": ("val_acc", "speed")}, "Unknown second objective 'speed'; known: parameters"),
        ({"objectives": ("val_acc", "latency")}, "did you mean 'latency_seconds'?"),
        ({"objectives": ("val_acc", "parameter")}, "did you mean 'parameters'?"),
        ({"ranges": {"lr": (1e-2, 1e-4)}}, "The key 'lr' cannot be sampled"),
    ],
)  # fmt: skip
def test_what_cannot_be_sampled_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        Sampler(experiment(**changes), 5).ask(1)
    assert "\n" not in str(refused.value)


def test_a_sampler_whose_package_is_missing_names_it():
    try:
        import cmaes  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="needs the package 'cmaes'"):
            Slots(experiment(sampler="CmaEsSampler"), 1).run(12, rebuild=False)
    else:
        pytest.skip("cmaes is installed here")


def whole_study(settings, past):
    """All trials of the past in an Optuna study that forgets none."""
    study = optuna.create_study(direction="maximize")
    states = {"running": TrialState.RUNNING, "finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    place = Sampler(settings, 4).place
    for each in past:
        state = states.get(each.status, TrialState.FAIL)
        point, _ = place(each.config)
        study.add_trial(
            optuna.trial.create_trial(
                state=state, params=point.params, distributions=point.distributions,
                value=each.values[0] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
                intermediate_values={1: each.values[0]} if each.values and each.values[0] is not None else {},
            )
        )  # fmt: skip
    return study


def test_a_long_study_forgets_what_tpe_would_not_look_at_and_asks_as_one_that_forgets_nothing():
    settings = experiment()
    slots = Slots(settings, 9)
    slots.run(3 * MODELLED, rebuild=False)
    live = [each.number for each in slots.past if each.ended is None]
    assert len(live) == 8
    kept = slots.sampler.study.trials
    assert MODELLED + MODELLED_BEST <= len(kept) < 2 * (MODELLED + MODELLED_BEST)
    for _ in range(12):
        past = slots.past.copy()
        study, number = whole_study(settings, past), len(past) + 1
        ours, all_seen = Window.of(slots.sampler.study)._get_trials(), Window.of(study)._get_trials()
        assert [(trial.state, trial.params, trial.values) for trial in ours] == [
            (trial.state, trial.params, trial.values) for trial in all_seen
        ]
        study.sampler = build_sampler("tpe", slots.sampler._seed(number, 0), 4)
        expected = space(StudyScope(study.ask(), {}, {}))
        flat = slots.ask()
        assert {key: flat[key] for key in expected} == expected
        slots.end(live.pop(0))
        live.append(number)
    again = Sampler(settings, 4)
    assert again.take_up(past)
    assert again.ask(number) == flat


def test_a_window_reaches_further_back_when_a_running_trial_fails_and_what_it_finds_there_was_not_forgotten():
    slots = Slots(experiment(), MODELLED)
    slots.run(2 * MODELLED + MODELLED_BEST + 2, rebuild=False)  # so many at once that most of the window runs
    sampler = slots.sampler
    assert len(sampler.study.trials) < len(slots.past), "the first were forgotten just now"
    for each in [each for each in slots.past if each.ended is None][::2]:
        sampler.tell(each.number, "failed", [None])
        slots.past[each.number - 1] = replace(each, status="failed", ended=slots.now)
    seen = Window.of(sampler.study)._get_trials()
    assert [trial.params for trial in seen] == [
        trial.params for trial in Window.of(whole_study(experiment(), slots.past))._get_trials()
    ]


def test_what_a_study_keeps_of_two_objectives_is_its_last_trials():
    slots = Slots(experiment(objectives=("val_acc", "parameters"), sampler="random"), 2)
    slots.run(2 * MODELLED + MODELLED_BEST + 2, rebuild=False)
    assert MODELLED < len(slots.sampler.study.trials) < MODELLED + 5


def test_a_variant_that_was_forgotten_is_still_not_asked_for_twice():
    def rates(scope):
        return {"ffn": "mlp", "ffn.mlp.hidden": scope.int("ffn.mlp.hidden", 1, 700)}

    flats = Slots(experiment(space=rates, sampler="random"), 1).run(500, rebuild=False)
    assert len(flats) > 2 * MODELLED + MODELLED_BEST
    assert len({flat["ffn.mlp.hidden"] for flat in flats}) == len(flats)


@pytest.mark.filterwarnings("ignore:Argument")
def test_tpe_draws_what_optunas_does_but_only_the_keys_of_the_kind_that_was_drawn():
    """From one study and seed, the keys that are drawn first, those of all trials, come out as Optuna's own sampler's."""
    slots = Slots(experiment(), 1)
    slots.run(30, rebuild=False)
    study, number = slots.sampler.study, len(slots.past) + 1
    own = build_sampler("tpe", slots.sampler._seed(number, 0), 4)
    theirs = optuna.samplers.TPESampler(
        seed=slots.sampler._seed(number, 0), n_startup_trials=4, multivariate=True, group=True, constant_liar=True
    )
    study.sampler = theirs
    trial = study.ask()
    reference = trial.relative_params
    study.tell(trial, state=TrialState.FAIL)
    assert {"ffn", "lr", "ffn.mlp.hidden", "ffn.fff.depth"} <= reference.keys(), "Optuna draws those of every kind"
    study.sampler = own
    trial = study.ask()
    flat = space(StudyScope(trial, {}, {}))
    assert {key: flat[key] for key in ("ffn", "lr")} == {key: reference[key] for key in ("ffn", "lr")}
    other = {"mlp": "ffn.fff.", "fff": "ffn.mlp."}[flat["ffn"]]
    assert not [key for key in own._drawn if key.startswith(other)]
    asked_for = [key for key in own._drawn if key.startswith(f"ffn.{flat['ffn']}.")]
    assert asked_for
    assert all(own._drawn[key] == flat[key] for key in asked_for), "modelled, not drawn by chance"


@pytest.mark.parametrize("name", ["gp", "nsgaii", "QMCSampler", "tpe"])
def test_a_sampler_prints_nothing_of_its_own(name, capfd):
    Slots(experiment(sampler=name), 1).run(9, rebuild=False)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_what_a_sampler_leaves_to_chance_is_said_once():
    assert "gp models the keys that all trials share" in limits("gp")
    assert limits("tpe") is None
