"""What a search takes over from earlier ones: real sessions and samplers, made-up curves."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from results.audited import audit
from results.errors import InputError
from results.store import Store
from search.prepare import check_trials, experiment_of, settings_of
from search.resources import plan_resources
from search.warm_start import warm_started

sys.path.insert(0, str(Path(__file__).parent))
from test_session import COMPARISON, SEARCH, history, report_of, run, session_of

from trainer.dataset import read_header

ONE_CORE = plan_resources(concurrency=1, cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1)
EARLIER = replace(SEARCH, name="earlier", sampler="random", scheduler="none", trials=8, search_seed=5)


def four(scope):
    return {"ffn": "mlp", "ffn.mlp.hidden": scope.categorical("ffn.mlp.hidden", (8, 16, 32, 64))}


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


@pytest.fixture
def header(digits):
    return read_header("digits")


@pytest.fixture
def begin(store, header, tmp_path):
    """A search in the store, and a function that makes its session anew, from what the store has of it."""

    def make(experiment, *, source="toy.py"):
        resources = plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=None, threads=1)
        search_id = store.create_search(
            experiment.name, "?", settings_of(source, experiment, resources, header, 4, ()), {}
        )
        return search_id, lambda: session_of(store, search_id, experiment, header, tmp_path / search_id)

    return make


@pytest.fixture
def warm(store, header):
    return lambda experiment, *searches: warm_started(store, experiment, searches, header, on_gpu=False)


def asked(store, search_id):
    return [row.config for row in store.trials(search_id)]


def test_finished_results_are_told_before_the_first_ask_and_change_it(store, begin, warm):
    earlier, make = begin(EARLIER)
    session = make()
    run(lambda: session)
    session.store.update_trial(f"{earlier}.8", status="failed", cause="?")  # not finished, so not taken
    told, misfits = warm(replace(SEARCH, trials=3), earlier)
    assert (len(told.known), misfits) == (7, 0)
    search_id, make = begin(told)
    study = make().supply.sampler.study
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 7
    assert [trial.values for trial in study.trials] == [[row.val_acc] for row in store.trials(earlier)[:7]]
    of_the_earlier = [trial.distributions for trial in session.supply.sampler.study.trials[:7]]
    assert [trial.distributions for trial in study.trials] == of_the_earlier
    cold, make_cold = begin(replace(SEARCH, trials=3))
    run(make), run(make_cold)
    assert asked(store, search_id)[0] != asked(store, cold)[0]
    assert [violation for check in audit(store, search_id) for violation in check.violations] == []


@pytest.mark.parametrize("again", [False, True])
def test_a_known_variant_is_not_trained_again_unless_asked_for(store, begin, warm, again):
    small = replace(EARLIER, space=four, trials=2)
    earlier, make = begin(small)
    run(make)
    told, _ = warm(replace(small, name="later", trials=4, seeds=(3,), train_known=again), earlier)
    later, make = begin(told)
    run(make)
    widths = [sorted(config["ffn.mlp.hidden"] for config in asked(store, name)) for name in (earlier, later)]
    assert [len(each) for each in widths] == [2, 4 if again else 2]
    assert sorted({*widths[0], *widths[1]}) == [8, 16, 32, 64]


@pytest.mark.parametrize("settings", [{}, {"sampler": "nsgaii"}, {"objectives": ("val_acc", "macs")}])
def test_a_warm_started_search_killed_at_any_report_asks_as_one_that_lived(
    store, begin, warm, header, tmp_path, settings
):
    """The session that goes on is made of what the store has, although the earlier search is gone by then."""
    earlier, make = begin(EARLIER)
    run(make)
    source = tmp_path / "later.py"
    source.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from dataclasses import replace\n"
        "from test_session import SEARCH\n\n\n"
        "def later():\n"
        '    """?"""\n'
        "    return replace(SEARCH)\n"
    )
    told, _ = warm(replace(SEARCH, name="later", scheduler="median", trials=7, **settings), earlier)
    whole, make = begin(told, source=str(source))
    run(make)
    broken, _ = begin(told, source=str(source))
    for row in store.trials(earlier):
        store.update_trial(row.id, status="failed")

    def exact():
        experiment = experiment_of(store.search(broken).settings, "later")
        assert len(experiment.known) == 8
        session = session_of(store, broken, experiment, header, tmp_path / broken)
        assert session.supply.sampler_is_exact
        return session

    run(exact, kill_after=3)
    assert history(store, broken) == history(store, whole)


def test_only_trials_that_the_new_search_might_ask_for_are_taken(store, begin, warm):
    earlier, make = begin(EARLIER)
    run(make)
    rates = [row.config["lr"] for row in store.trials(earlier)]
    narrowed = replace(SEARCH, ranges={"lr": (1e-4, sorted(rates)[4])})
    told, misfits = warm(narrowed, earlier)
    assert [known.config["lr"] for known in told.known] == [rate for rate in rates if rate <= sorted(rates)[4]]
    assert misfits == 3
    fixed, misfits = warm(SEARCH.with_fixed({"ffn": "fff"}), earlier)
    kinds = [row.config["ffn"] for row in store.trials(earlier)]
    assert [known.config["ffn"] for known in fixed.known] == ["fff"] * kinds.count("fff")
    assert misfits == kinds.count("mlp") > 0


def test_what_cannot_warm_start_a_search_is_refused_in_a_sentence(store, begin, warm):
    earlier, make = begin(EARLIER)
    session = make()
    one = session.next_trial()
    with pytest.raises(InputError, match=f"None of the 0 finished trials of {earlier} is one that 'toy' might ask for"):
        warm(SEARCH, earlier)
    for epoch in range(1, 10):
        session.report(one.trial_id, report_of(one.flat, epoch), {})
    for experiment, names, sentence in (
        (COMPARISON, [earlier], "'pairs' is a comparison: it samples nothing, so --warm-start does not apply"),
        (SEARCH, [earlier, "earlier-7"], "Unknown search 'earlier-7'; did you mean 'earlier-1'"),
        (SEARCH.with_fixed({"epochs": 5}), [earlier], "None of the 1 finished trials of earlier-1"),
        (SEARCH.with_fixed({"dim": 32}), [earlier], "all keys but the seed count"),
        (SEARCH, [store.create_search("import", "?", {}, {})], "import-1 was not trained on digits as it is here"),
    ):
        with pytest.raises(InputError, match=sentence) as refused:
            warm(experiment, *names)
        assert "\n" not in str(refused.value)
    assert len(warm(SEARCH, earlier, earlier)[0].known) == 1  # named twice, told once


def test_a_space_that_no_longer_holds_what_is_known_is_refused(store, begin, warm, header):
    earlier, make = begin(EARLIER)
    run(make)
    told, _ = warm(SEARCH, earlier)
    with pytest.raises(InputError, match=r"has changed since it was warm-started: earlier-1\.1 is no point of it"):
        check_trials(replace(told, space=four), 4, header, ONE_CORE)
