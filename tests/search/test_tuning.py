"""Rates tuned before the seeds that count: the real session and store without Ray, made-up curves, real decisions."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from results.arms import pairs_of
from results.audited import audit
from results.errors import InputError
from results.foresight import spread_before
from results.frames import load
from results.store import Store
from results.table import variants
from search.control import ask
from search.experiment import TUNING_SEED, Experiment
from search.match import Match
from search.prepare import check_trials, settings_of
from search.resources import plan_resources
from search.tuning import parse_factors
from trainer.dataset import read_header

sys.path.insert(0, str(Path(__file__).parent))

from test_session import COMPARISON, history, new_search, report_of, run, session_of

ONE_CORE = plan_resources(concurrency=1, cpus_per_trial=1.0, gpus_per_trial=0.0, threads=1)
FACTORS = (0.5, 1.0, 2.0, 4.0)
TUNED = replace(COMPARISON, tune_lr=FACTORS, base={**COMPARISON.base, "lr": 1e-3})
FFF = {"ffn": "fff", "ffn.fff.depth": 2, "lr": 4e-3}


@pytest.fixture
def header(digits):
    return read_header("digits")


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def stored_search(store, experiment, header):
    resources = plan_resources(concurrency=1, cpus_per_trial=1, gpus_per_trial=0, threads=1)
    return store.create_search(experiment.name, "?", settings_of("x", experiment, resources, header, 4, ()), {})


def test_every_variant_tries_the_same_number_of_rates_before_its_seeds_and_takes_the_best(store, header, tmp_path):
    experiment = replace(TUNED, grid=[*TUNED.grid, FFF])
    search_id = stored_search(store, experiment, header)
    session = run(lambda: session_of(store, search_id, experiment, header, tmp_path))
    assert session.planned == 3 * (4 + 2)
    assert session.close() == "ended"
    rows = store.trials(search_id)
    tuning, counted = rows[:12], rows[12:]
    assert {row.seed for row in tuning} == {TUNING_SEED}
    assert not [violation for check in audit(store, search_id) for violation in check.violations]
    rates = [(row.config["ffn"], row.config["lr"]) for row in tuning if row.config.get("ffn.mlp.hidden") != 16]
    assert sorted(rates) == [("fff", 0.002), ("fff", 0.004), ("fff", 0.008), ("fff", 0.016),
                             ("mlp", 0.0005), ("mlp", 0.001), ("mlp", 0.002), ("mlp", 0.004)]  # fmt: skip
    assert {(row.config["epochs"], row.config["batch_size"], row.config["data"]) for row in rows} == {(2, 64, "digits")}
    # the curves of report_of are best at a rate of 1e-3: the given one of the dense ones, the smallest of the tree's
    assert [(row.config["ffn"], row.config["lr"], row.seed) for row in counted] == [
        ("mlp", 0.001, 0), ("mlp", 0.001, 0), ("fff", 0.002, 0), ("mlp", 0.001, 1), ("mlp", 0.001, 1), ("fff", 0.002, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("kill_after", [1, 2, 3])
def test_a_tuned_comparison_killed_again_and_again_runs_as_one_that_lived(store, header, tmp_path, kill_after):
    whole, broken = stored_search(store, TUNED, header), stored_search(store, TUNED, header)
    run(lambda: session_of(store, whole, TUNED, header, tmp_path / "a"))
    run(lambda: session_of(store, broken, TUNED, header, tmp_path / "b"), kill_after=kill_after)
    assert history(store, broken) == history(store, whole)
    marks = [
        [{k: v for k, v in row.provenance.items() if k != "folder"} for row in store.trials(name)]
        for name in (broken, whole)
    ]
    assert marks[0] == marks[1]


def test_a_variant_whose_rate_is_known_starts_while_another_still_tunes(store, header, tmp_path):
    search_id = stored_search(store, TUNED, header)
    session = session_of(store, search_id, TUNED, header, tmp_path, concurrency=8)
    live = [session.next_trial() for _ in range(8)]
    assert session.next_trial() is None
    for each in live:
        if each.flat["ffn.mlp.hidden"] == 16:
            session.report(each.trial_id, report_of(each.flat, 2), {})
    assert {session.next_trial().flat["ffn.mlp.hidden"] for _ in range(2)} == {16}
    assert session.next_trial() is None
    assert not session.done
    assert not session.complete
    for each in live:
        if each.flat["ffn.mlp.hidden"] == 8:
            session.report(each.trial_id, report_of(each.flat, 2), {})
    assert session.next_trial().flat["ffn.mlp.hidden"] == 8


def test_a_comparison_whose_tuning_trials_are_all_paused_ends_as_paused_and_goes_on(store, header, tmp_path):
    search_id = stored_search(store, TUNED, header)
    session = session_of(store, search_id, TUNED, header, tmp_path, concurrency=8)
    live = [session.next_trial() for _ in range(8)]
    for each in live:
        ask(store, each.trial_id, "pause")
        session.report(each.trial_id, report_of(each.flat, 1), {})
    assert session.next_trial() is None
    assert session.done
    assert not session.complete
    assert session.close() == "paused"
    for each in live:
        ask(store, each.trial_id, "resume")
    session = run(lambda: session_of(store, search_id, TUNED, header, tmp_path))
    assert session.close() == "ended"
    assert len(store.trials(search_id)) == 2 * (4 + 2)


def test_a_rate_that_diverged_or_failed_is_never_the_best(store, header, tmp_path):
    experiment = replace(TUNED, grid=TUNED.grid[:1])
    search_id = stored_search(store, experiment, header)
    session = session_of(store, search_id, experiment, header, tmp_path)
    for _ in FACTORS:
        each = session.next_trial()
        if each.flat["lr"] == 1e-3:  # would be the best
            session.report(each.trial_id, report_of(each.flat, 1, value=math.nan, status="diverged"), {})
        elif each.flat["lr"] == 2e-3:
            session.fail(each.trial_id, "its node was lost")
        else:
            session.report(each.trial_id, report_of(each.flat, 2), {})
    assert session.next_trial().flat["lr"] == 5e-4


def test_where_no_rate_comes_to_its_end_the_given_one_is_trained_and_the_table_says_so(store, header, tmp_path):
    search_id = stored_search(store, TUNED, header)
    session = session_of(store, search_id, TUNED, header, tmp_path)
    while (each := session.next_trial()) is not None:
        if each.flat["seed"] == TUNING_SEED and each.flat["ffn.mlp.hidden"] == 8:
            session.fail(each.trial_id, "?")
        else:
            session.report(each.trial_id, report_of(each.flat, 2), {})
    assert [row.config["lr"] for row in store.trials(search_id)[8:]] == [1e-3] * 4
    notes = variants(load(store.url), search_id).notes
    assert "No rate of hidden=8 came to its end while they were tuned, so its given one was trained." in notes


def test_added_seeds_train_at_the_rates_that_were_found(store, header, tmp_path):
    search_id = stored_search(store, TUNED, header)
    run(lambda: session_of(store, search_id, TUNED, header, tmp_path))
    before = store.trials(search_id)
    longer = replace(TUNED, seeds=(0, 1, 2), grid=[*TUNED.grid, FFF])
    run(lambda: session_of(store, search_id, longer, header, tmp_path))
    rows = store.trials(search_id)
    assert rows[: len(before)] == before
    added = [(row.config["ffn"], row.config["lr"], row.seed) for row in rows[len(before) :]]
    # the added seed of the known variants is the first thing that may start after the rates of the new one
    assert sorted(added) == sorted(
        [("fff", rate, TUNING_SEED) for rate in (0.002, 0.004, 0.008, 0.016)]
        + [("fff", 0.002, seed) for seed in (0, 1, 2)] + [("mlp", 0.001, 2)] * 2
    )  # fmt: skip


def test_the_table_counts_no_tuning_trial_and_says_what_tuning_took_and_where_it_ended(store, header, tmp_path):
    experiment = replace(TUNED, grid=[*TUNED.grid, FFF])
    search_id = stored_search(store, experiment, header)
    session = session_of(store, search_id, experiment, header, tmp_path)
    for _ in range(3):
        each = session.next_trial()
        session.report(each.trial_id, report_of(each.flat, 2), {})
    early = variants(load(store.url), search_id)
    assert not len(early.rows)
    (note,) = early.notes
    assert note.startswith("Learning rates are being tuned: 3 of 12 trials (4 rates x 1 seed")
    run(lambda: session_of(store, search_id, experiment, header, tmp_path))
    table = variants(load(store.url), search_id)
    assert list(table.rows["seeds"]) == [2, 2, 2]
    assert list(table.rows["planned"]) == [2, 2, 2]
    assert all(len(names) == 2 for names in table.rows["trials"])
    assert set(table.rows["status"]) == {"finished"}
    # two seconds on the wall each, as report_of has it
    assert table.notes[0].startswith(
        "Learning rate tuned for each variant: 4 rates x 1 seed, 24 seconds on CPUs; 0.5, 1"
    )
    assert table.notes[1].startswith("The best rate of fff lr=0.002 depth=2 ")
    assert table.notes[1].endswith("is the smallest tried (0.002); a smaller one may be better.")
    assert not any("largest" in note for note in table.notes)


def test_a_tuning_trial_is_no_side_of_a_comparison_and_no_measure_of_the_spread(store, header, tmp_path):
    search_id = stored_search(store, TUNED, header)
    run(lambda: session_of(store, search_id, TUNED, header, tmp_path))
    tuning, *_, counted = store.trials(search_id)
    with pytest.raises(InputError, match=f"{tuning.id} tuned a learning rate and is no measurement of its variant"):
        pairs_of(load(store.url), [tuning.id, counted.id], None)
    for row in store.trials(search_id):
        store.update_trial(row.id, provenance={"data_checksum": header.checksum})
    # two variants of two seeds each
    assert spread_before(store, counted.config, header.checksum).freedom == 2


def test_an_untuned_comparison_says_so(store, header, tmp_path):
    for experiment, said in (
        (COMPARISON, "One learning rate for all, not tuned"),
        (replace(COMPARISON, grid=[COMPARISON.grid[0], FFF]), "Learning rates as given, not tuned"),
    ):
        search_id = stored_search(store, experiment, header)
        run(lambda e=experiment, s=search_id: session_of(store, s, e, header, tmp_path))
        assert any(note.startswith(said) for note in variants(load(store.url), search_id).notes)


def test_a_matched_comparison_keeps_its_groups_when_its_rates_are_tuned(store, header, tmp_path):
    from search.matching import solve

    experiment, matchings = solve(
        replace(TUNED, match=Match(measure="parameters", target={"ffn": "mlp", "ffn.mlp.hidden": 16}),
                grid=[{"ffn": "mlp"}, {"ffn": "fff", "ffn.fff.depth": 2, "lr": 4e-3}]),
        header, on_gpu=False,
    )  # fmt: skip
    resources = plan_resources(concurrency=1, cpus_per_trial=1, gpus_per_trial=0, threads=1)
    settings = settings_of("x", experiment, resources, header, 4, (), matchings)
    search_id = store.create_search(experiment.name, "?", settings, {})
    run(lambda: session_of(store, search_id, experiment, header, tmp_path))
    rows = variants(load(store.url), search_id).rows
    assert rows["match"].str.startswith("parameters = ").all()


@pytest.mark.parametrize("text", ["", "1", "1,1", "0,1", "-1,2", "x,1", "nan,1", "inf,1"])
def test_factors_that_are_no_list_of_rates_are_refused(text):
    with pytest.raises(InputError, match="two or more different numbers above 0"):
        parse_factors(text)


def test_what_cannot_be_tuned_is_refused_before_anything_runs(header):
    assert parse_factors("2,0.5") == (0.5, 2.0)
    twice = replace(TUNED, grid=[{"ffn": "mlp", "lr": 1e-3}, {"ffn": "mlp", "lr": 2e-3}])
    spelled = [{"lr": 1e-3, "dropout": 0}, {"lr": 3.3e-3, "dropout": 0.0}]
    default = [{"ffn": "mlp"}, {"ffn": "mlp", "lr": 2e-3, "clip_norm": 1}]
    for equal in (twice, replace(TUNED, grid=spelled), replace(TUNED, grid=default)):
        with pytest.raises(InputError, match="differ in their learning rate alone"):
            check_trials(equal, 4, header, ONE_CORE)
    with pytest.raises(InputError, match="the seed by which learning rates are tuned"):
        replace(TUNED, seeds=(0, TUNING_SEED))
    with pytest.raises(InputError, match="belongs to a"):
        Experiment(base=COMPARISON.base, space=lambda scope: {}, tune_lr=FACTORS)
    with pytest.raises(InputError, match='"lr" must be above 0 and at most 100'):
        check_trials(replace(TUNED, base={**TUNED.base, "lr": 50.0}), 4, header, ONE_CORE)


def test_an_untuned_comparison_has_no_tuning_trials(store, header, tmp_path):
    search_id = new_search(store, COMPARISON)
    session = run(lambda: session_of(store, search_id, COMPARISON, header, tmp_path))
    assert session.planned == 4
    assert not any("given_variant" in row.provenance for row in store.trials(search_id))
