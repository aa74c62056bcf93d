"""A search's best variants trained again: real store, session and table without Ray; the curves are made up."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.cells import columns
from results.frames import load
from results.store import Store
from results.table import variants
from search.confirm import Wish, confirmation, experiment_of, more_seeds
from search.experiment import comparison_plan
from search.prepare import check_new, prepare_new, settings_of
from search.resources import plan_resources
from search.run import app
from trainer.config import TrialConfig
from trainer.dataset import read_header

sys.path.insert(0, str(Path(__file__).parent))

from test_session import COMPARISON, SEARCH, history, report_of, run, session_of

RESOURCES = {"concurrency": 1, "cpus_per_trial": 1, "gpus_per_trial": 0, "threads": 1}


@pytest.fixture
def header(digits):
    return read_header("digits")


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def stored(store, experiment, header):
    settings = settings_of("x.py", experiment, plan_resources(**RESOURCES), header, 4, ())
    return store.create_search(experiment.name, experiment.question, settings, {})


def searched(store, header, tmp_path, experiment=SEARCH):
    search_id = stored(store, experiment, header)
    run(lambda: session_of(store, search_id, experiment, header, tmp_path)).close()
    return search_id


def best(store, search_id, count):
    rows = [row for row in store.trials(search_id) if row.status == "finished"]
    return sorted(rows, key=lambda row: -row.val_acc)[:count]


def prepared(store, wish, **changes):
    found = confirmation(store, wish, **changes)
    new = check_new(found.source, found.experiment, plan_resources(**RESOURCES))
    return prepare_new(store, replace(new, confirms=found.confirms), notes="", tags=(), variants=found.variants)


def lower(flat, epoch):
    """What fresh seeds show: less than the search did, a little different for each seed."""
    value = report_of(flat, epoch).row.val_acc
    return report_of(flat, epoch, value=value - 0.02 + 0.002 * (flat["seed"] % 3))


def train(session, report=lower):
    while (each := session.next_trial()) is not None:
        epoch = each.reported
        while not session.report(each.trial_id, report(each.flat, epoch := epoch + 1), {}):
            pass
    return session


def test_the_best_variants_and_a_dense_baseline_train_with_seeds_that_the_search_never_saw(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    chosen = best(store, search_id, 2)
    new = prepared(store, Wish(search=search_id, top=2, seeds=3))
    assert new.search_id == "toy-confirmed-1"
    train(session_of(store, new.search_id, new.experiment, header, tmp_path)).close()
    rows = store.trials(new.search_id)
    assert len(rows) == 9
    assert {row.seed for row in rows} == {1, 2, 3}
    assert {(row.status, row.epochs) for row in rows} == {("finished", 9)}
    assert store.decisions(new.search_id) == []
    for row, found in zip(rows, chosen, strict=False):
        assert row.variant == found.variant
        assert {**row.config, "seed": 0} == found.config
    baseline = rows[2].config
    dense = next(row for row in best(store, search_id, 99) if row.config["ffn"] == "mlp")
    assert baseline == {**dense.config, "ffn.mlp.hidden": 256, "layout": "single", "seed": 1}
    assert store.search(new.search_id).settings["confirms"] == {
        "search": search_id,
        "ranked": len(best(store, search_id, 99)),
        "seen": [0],
        "variants": [{"trial": found.id, "variant": found.variant} for found in chosen],
        "baseline": {"variant": rows[2].variant, "recipe": dense.id, "named": False},
    }


def test_patience_is_dropped_so_that_every_variant_trains_to_its_horizon(store, header, tmp_path):
    search_id = searched(store, header, tmp_path, replace(SEARCH, base={**SEARCH.base, "patience": 2}))
    new = prepared(store, Wish(search=search_id, top=1, seeds=2))
    session = train(session_of(store, new.search_id, new.experiment, header, tmp_path))
    assert {row.config["patience"] for row in store.trials(session.search_id)} == {None}
    table = variants(load(store.url), new.search_id)
    assert table.rows["searched_val_acc"].dropna().tolist() == [best(store, search_id, 1)[0].val_acc]


def test_the_experiments_own_baseline_is_trained_where_it_names_one(store, header, tmp_path):
    named = {"ffn": "glu", "ffn.glu.hidden": 24, "lr": 3e-3}
    search_id = searched(store, header, tmp_path, replace(SEARCH, baseline=named))
    found = confirmation(store, Wish(search=search_id, top=1))
    (entry,) = [variant for variant in found.experiment.grid if variant["ffn"] == "glu"]
    assert (entry["ffn.glu.hidden"], entry["lr"]) == (24, 3e-3)
    assert found.confirms["baseline"]["named"]


def test_a_variant_is_named_by_what_the_search_has_searched_and_trained_with_all_the_rest(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    trials = best(store, search_id, 99)
    found = confirmation(store, Wish(search=search_id, top=len(trials))).experiment
    searched_keys = {key for trial in trials for key in trial.config if key != "seed"} - set(found.base)
    assert {key for variant in found.grid for key in variant} == searched_keys
    for key, value in found.base.items():
        assert {repr(trial.config[key]) for trial in trials if key in trial.config} <= {repr(value)}
    assert any(key.startswith("ffn.") for key in found.base), "of a kind, not searched"
    flats = [TrialConfig.from_flat(flat).to_flat() for flat in comparison_plan(replace(found, seeds=(0,)))]
    assert flats[: len(trials)] == [trial.config for trial in trials]


def test_a_killed_confirmation_goes_on_from_its_settings_without_the_experiments_file(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    whole, broken = (prepared(store, Wish(search=search_id, top=3, seeds=2)) for _ in range(2))

    def again(new):
        row = store.search(new.search_id)
        return session_of(store, row.id, experiment_of(row.settings, row.experiment), header, tmp_path / row.id)

    run(lambda: again(whole))
    run(lambda: again(broken), kill_after=4)
    assert history(store, broken.search_id) == history(store, whole.search_id)
    assert [row.seed for row in store.trials(whole.search_id)] == [1] * 4 + [2] * 4


def test_added_seeds_of_a_confirmation_are_fresh_too(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    new = prepared(store, Wish(search=search_id, top=1, seeds=2))
    settings = store.search(new.search_id).settings
    assert more_seeds(settings, (0, 1, 2, 3)) == (1, 2, 3, 4), "a number of seeds"
    assert more_seeds(settings, (7, 9)) == (1, 2, 7, 9)
    with pytest.raises(Exception, match=f"seeds that {search_id} has not used, but got 0"):
        more_seeds(settings, (0, 7))


def test_the_table_shows_searched_beside_confirmed_and_the_winners_curse(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    new = prepared(store, Wish(search=search_id, top=2, seeds=3))
    session = session_of(store, new.search_id, new.experiment, header, tmp_path)
    train(session)
    table = variants(load(store.url), new.search_id)
    assert columns(table).index("searched %") + 1 == columns(table).index("val %")
    chosen = best(store, search_id, 2)
    for found in chosen:
        (row,) = table.rows[table.rows["variant"] == found.variant].to_dict("records")
        assert row["searched_val_acc"] == found.val_acc
        # seeds 1, 2, 3 are 1.8, 1.6 and 2.0 points below
        assert row["val_acc"] == pytest.approx(found.val_acc - 0.018)
    assert table.rows["searched_val_acc"].isna().sum() == 1, "the baseline was not searched"
    # deviation 0.2 points with 6 degrees of freedom: t(0.975, 6) = 2.447 times 0.2 / 2 sqrt(2/3) = 0.200
    ranked = len(best(store, search_id, 99))
    assert table.notes[0] == (
        f"Winner's curse: over the 2 variants confirmed (of {ranked} that {search_id} ranked by one run each) the mean of "
        "confirmed minus searched is -1.80 points (95 % interval -2.00 to -1.60): the search showed them better than they "
        "are."
    )
    assert re.match(
        rf"The search's winner, {re.escape(chosen[0].id)} \(.*\), has rank (\d|1-\d) of 3 in toy-confirmed-1; against the "
        r"baseline it is [+-]\d\.\d\d points \(95 % interval", table.notes[1]
    )  # fmt: skip
    both = variants(load(store.url), [search_id, new.search_id])
    said = next(found for note in both.notes if (found := re.search(r"has rank (?:1-)?(\d+)~? of (\d+) here", note)))
    assert int(said[1]) <= int(said[2]), "the rank is among all rows that are shown"
    assert table.notes[2].startswith("The baseline is ")
    assert table.notes[-1] == "Learning rates are those of the search; they were not tuned again."


def test_a_confirmation_of_one_seed_claims_no_interval(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    new = prepared(store, Wish(search=search_id, top=1, seeds=1))
    train(session_of(store, new.search_id, new.experiment, header, tmp_path))
    notes = variants(load(store.url), new.search_id).notes
    assert notes[0].endswith("is -1.80 points; one seed a variant shows no interval, so add seeds.")
    assert notes[1].endswith("points, of one seed each.")


def test_a_searched_value_stands_beside_a_variant_at_its_own_rate_alone(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    first, _, third = best(store, search_id, 3)
    # the curves are best at a rate of 1e-3: this factor brings the one there, and the other further away
    factor, off = 1e-3 / third.config["lr"], abs(math.log(first.config["lr"] / 1e-3))
    assert abs(math.log(factor)) > 0.01
    assert abs(math.log(first.config["lr"] * factor / 1e-3)) > off
    new = prepared(store, Wish(search=search_id, top=2, seeds=2), tune_lr=(factor, 1.0))
    train(session_of(store, new.search_id, new.experiment, header, tmp_path))
    table = variants(load(store.url), new.search_id)
    assert table.rows["searched_val_acc"].dropna().tolist() == [first.val_acc]
    assert f"Winner's curse: over 1 of the 2 variants confirmed (of {new_ranked(store, new)} that" in " ".join(
        table.notes
    )
    assert any(note.startswith("1 of the 2 confirmed variants train at another learning rate") for note in table.notes)
    winner = next(note for note in table.notes if note.startswith("The search's winner"))
    assert "another rate" not in winner


def new_ranked(store, new):
    return store.search(new.search_id).settings["confirms"]["ranked"]


def test_where_all_rates_are_other_ones_no_searched_value_is_shown(store, header, tmp_path):
    search_id = searched(store, header, tmp_path)
    new = prepared(store, Wish(search=search_id, top=2, seeds=2), tune_lr=(16.0, 32.0))
    train(session_of(store, new.search_id, new.experiment, header, tmp_path))
    table = variants(load(store.url), new.search_id)
    # the second of the search differs from its first in the rate alone: tuned, they are one
    first, second, _ = best(store, search_id, 3)
    assert {**first.config, "lr": 0} == {**second.config, "lr": 0}
    assert "searched %" not in columns(table)
    assert any(note.startswith("All confirmed variants train at another learning rate") for note in table.notes)
    assert not any(note.startswith("Winner's curse") for note in table.notes)
    winner = next(note for note in table.notes if note.startswith("The search's winner"))
    assert "another rate than it had there)" in winner
    assert any(note.startswith("Learning rate tuned for each variant: 2 rates x 1 seed") for note in table.notes)


@pytest.fixture
def refused(store, header, tmp_path):
    """Says how the command refuses; no search may come of it."""
    names = {
        "toy-1": searched(store, header, tmp_path),
        "pairs-1": stored(store, COMPARISON, header),
        "young-1": stored(store, replace(SEARCH, name="young"), header),
        "foreign-1": store.create_search("foreign", "?", {}, {}),
    }
    assert list(names) == list(names.values())

    def refusal(*arguments):
        result = CliRunner().invoke(app, [*arguments, "--storage", store.url])
        assert [row.id for row in store.searches()] == list(names)
        return str(result.exception)

    return refusal


def test_what_cannot_be_confirmed_is_refused_in_a_sentence(refused):
    for arguments, sentence in (
        (("--confirm", "toy-9"), "Unknown search 'toy-9'; did you mean 'toy-1'?"),
        (("--confirm", "pairs-1"), "pairs-1 is a comparison, whose seeds count already"),
        (("--confirm", "young-1"), "young-1 has no trial that ran to its end"),
        (("--confirm", "foreign-1"), "foreign-1 was not made by search.run"),
        (("--confirm", "toy-1", "--top", "0"), '"--top" must be at least 1, but got 0.'),
        (("--confirm", "toy-1", "--seeds", "0,7"), "needs seeds that toy-1 has not used, but got 0"),
        (("--confirm", "toy-1", "--epochs", "3"), "trains what that search found, as it was, so --epochs does not go"),
        (("--confirm", "toy-1", "--set", "lr=1"), "so --set does not go with it"),
        (("quickstart", "--confirm", "toy-1"), "so an experiment does not go with it"),
        (("--resume", "toy-1", "--confirm", "toy-1"), "so --resume does not go with it"),
        (("quickstart", "--top", "3"), "--top says how many variants --confirm SEARCH trains"),
        (("quickstart", "--tune-lr"), "is a search, which samples learning rates where its space says so"),
        (("--resume", "toy-1", "--tune-lr"), "A resumed search keeps its rules, so --tune-lr cannot change"),
    ):
        assert sentence in refused(*arguments), arguments
