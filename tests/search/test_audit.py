"""The audit passes what real sessions wrote, and names whatever is changed in it, row by row."""

import json
import random
import shutil
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from results.audit import app
from results.audited import audit
from results.decided import _cycle
from results.errors import InputError
from results.store import Store
from search.hyperband import dealt
from search.prepare import settings_of
from search.resources import plan_resources
from search.session import Session

sys.path.insert(0, str(Path(__file__).parent))
from test_session import COMPARISON, SEARCH, history, report_of, run, session_of

from trainer.dataset import read_header

SCHEDULERS = ["asha", "hyperband", "median", "none"]
EPOCHS, GRACE, REDUCTION = 9, 1, 2


def searched(store, experiment, folder, *, slots=3, seed=0, until=10**6):
    """A search of made-up curves in an order that chance decides; some diverge, some fail, some end on a plateau."""
    header, chance = read_header("digits"), random.Random(seed)
    resources = plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=None, threads=1)
    stored = settings_of("toy.py", experiment, resources, header, 4, ())
    search_id = store.create_search(experiment.name, "?", stored, {})
    session = Session(store, search_id, experiment, folder=folder, header=header, concurrency=slots, gpus_per_trial=0,
                      startup_trials=4)  # fmt: skip
    live, reports = {}, 0
    while reports < until:
        while (assignment := session.next_trial()) is not None:
            live[assignment.trial_id] = (assignment, 0)
        if not live:
            break
        trial_id = chance.choice(sorted(live))
        assignment, epoch = live[trial_id]
        luck = chance.random()
        if luck < 0.02:
            session.fail(trial_id, "its node was lost")
            del live[trial_id]
            continue
        noise = chance.gauss(0, 0.1)
        report = report_of(assignment.flat, epoch + 1, value=min(max(0.5 + epoch / 20 + noise, 0), 1))
        if luck < 0.04:
            broken = replace(report.row, train_loss=float("nan"), val_acc=None)
            report = replace(report, row=broken, status="diverged")
        reports += 1
        live[trial_id] = (assignment, epoch + 1)
        if session.report(trial_id, report, {}):
            del live[trial_id]
    session.close()
    return search_id


@pytest.fixture(scope="module")
def kept(tmp_path_factory, digits):
    """One store with a search under each scheduler, each with stopped, finished, failed and diverged trials."""
    folder = tmp_path_factory.mktemp("audit")
    names = {}
    with Store.open(f"sqlite:///{folder}/arbor.db") as store:
        for name in SCHEDULERS:
            experiment = replace(SEARCH, name=name, scheduler=name, grace=GRACE, reduction=REDUCTION, trials=24)
            names[name] = searched(store, experiment, folder, seed=3)
            states = {row.status for row in store.trials(names[name])}
            assert states >= ({"finished", "failed"} if name == "none" else {"finished", "stopped", "failed"})
    return folder, names


@pytest.fixture
def changed(kept, tmp_path):
    """Run SQL on a copy of the store, and audit one of its searches."""
    folder, names = kept

    def change(scheduler, *statements):
        copy = tmp_path / "arbor.db"
        for path in tmp_path.glob("arbor.db*"):
            path.unlink()
        with sqlite3.connect(folder / "arbor.db") as whole:
            whole.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(folder / "arbor.db", copy)
        with sqlite3.connect(copy) as connection:
            for sql, *values in statements:
                assert connection.execute(sql, values).rowcount == 1, sql
        with Store.open(f"sqlite:///{copy}") as store:
            return violations(store, names[scheduler])

    return change


def violations(store, search_id):
    return [violation for check in audit(store, search_id) for violation in check.violations]


def rows(kept, scheduler, table):
    folder, names = kept
    with sqlite3.connect(folder / "arbor.db") as connection:
        connection.row_factory = sqlite3.Row
        key = "id" if table == "trials" else "trial_id"
        return connection.execute(
            f"SELECT rowid, * FROM {table} WHERE {key} LIKE ? ORDER BY rowid", (f"{names[scheduler]}.%",)
        ).fetchall()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_a_session_wrote_is_valid(kept, scheduler):
    folder, names = kept
    with Store.open(f"sqlite:///{folder}/arbor.db") as store:
        checks = audit(store, names[scheduler])
    assert [check.violations for check in checks] == [[]] * 8
    assert checks[1].rows > 40
    assert (checks[5].rows > 20) == (scheduler != "none")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(seed=st.integers(0, 10**6), slots=st.integers(1, 6), pooled=st.booleans(), until=st.integers(0, 60),
       grace=st.integers(1, 4), reduction=st.integers(2, 4))  # fmt: skip
@settings(max_examples=8)
def test_a_search_left_at_any_moment_is_valid(
    tmp_path_factory, digits, scheduler, seed, slots, pooled, until, grace, reduction
):
    folder = tmp_path_factory.mktemp("any")
    experiment = replace(SEARCH, name="any", scheduler=scheduler, grace=grace, reduction=reduction, pooled_rungs=pooled,
                         sampler="random")  # fmt: skip
    with Store.open(f"sqlite:///{folder}/arbor.db") as store:
        search_id = searched(store, experiment, folder, slots=slots, seed=seed, until=until)
        assert violations(store, search_id) == []


def test_a_comparison_is_audited_without_decisions_and_a_trial_too_many_is_found(tmp_path, digits):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        search_id = searched(store, COMPARISON, tmp_path, seed=1)
        assert violations(store, search_id) == []
        first = store.trials(search_id)[0]
        store.add_trial(search_id, 5, first.config, parameters=1, neurons_used=1, macs=1, macs_conditional=1)
        found = violations(store, search_id)
    assert any("has 2 trials with the seed 0" in each for each in found)
    assert any("has 5 trials, but 4 were planned" in each for each in found)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_epoch_that_is_lost_is_missed(kept, changed, scheduler):
    for row in rows(kept, scheduler, "epochs")[::3]:
        found = changed(scheduler, ("DELETE FROM epochs WHERE rowid = ?", row["rowid"]))
        assert any(f"{row['trial_id']} should have" in each for each in found), dict(row)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_epoch_that_was_never_trained_is_found(kept, changed, scheduler):
    columns = "train_loss, val_loss, val_acc, lr, train_seconds, val_seconds, images_per_second, extra"
    sql = f"INSERT INTO epochs SELECT trial_id, epoch + 1, {columns} FROM epochs WHERE trial_id = ? AND epoch = ?"
    for row in [row for row in rows(kept, scheduler, "trials") if row["epochs"]][::4]:
        found = changed(scheduler, (sql, row["id"], row["epochs"]))
        said = f"{row['id']} should have {row['epochs']} epochs: too many {row['epochs'] + 1}"
        assert any(said in each for each in found)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM decisions WHERE id = ?", "no decision"),
        ("UPDATE decisions SET decision = iif(decision = 'stop', 'continue', 'stop') WHERE id = ?", "the decision is"),
        ("UPDATE decisions SET value = coalesce(value, 0) + 1e-9 WHERE id = ?", "the value is"),
        ("UPDATE decisions SET cutoff = coalesce(cutoff, 0) - 1e-9 WHERE id = ?", "the cut-off is"),
        ("UPDATE decisions SET scheduler = 'fifo' WHERE id = ?", "decided by fifo"),
        ("UPDATE decisions SET rung = rung + 1 WHERE id = ?", "decided for the rung"),
        ("UPDATE decisions SET epoch = epoch + 50 WHERE id = ?", "not due"),
    ],
)
def test_every_decision_that_is_lost_or_changed_is_found(kept, changed, scheduler, change, said):
    for row in rows(kept, scheduler, "decisions")[::3]:
        found = changed(scheduler, (change, row["id"]))
        assert any(each.startswith(row["trial_id"]) and said in each for each in found), dict(row)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_an_accuracy_that_was_judged_cannot_be_changed(kept, changed, scheduler):
    much = 1 if scheduler == "median" else 0.001  # the median rule judges the best so far
    sql = "UPDATE epochs SET val_acc = val_acc + ? WHERE trial_id = ? AND epoch = ?"
    for row in rows(kept, scheduler, "decisions")[::3]:
        assert changed(scheduler, (sql, much, row["trial_id"], row["epoch"])), dict(row)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_trial_can_be_given_another_status(kept, changed, scheduler):
    every = ["pending", "running", "paused", "finished", "plateau", "stopped", "diverged", "failed", "interrupted"]
    seen = {}
    for row in rows(kept, scheduler, "trials"):
        seen.setdefault(row["status"], row)
    for row in seen.values():
        for status in every:
            found = changed(scheduler, ("UPDATE trials SET status = ? WHERE id = ?", status, row["id"]))
            assert bool(found) == (status != row["status"]), (dict(row), status)


@pytest.mark.parametrize(
    "change",
    [
        "number = 99", "variant = '0123456789'", "seed = 7", "epochs = epochs + 1", "val_acc = 0.123", "train_loss = 9",
        "best_val_acc = 0.999", "best_epoch = 77", "ended = NULL", "config = json_set(config, '$.lr', 0.5)",
    ],
)  # fmt: skip
def test_no_derived_column_of_a_trial_can_be_changed(kept, changed, change):
    for row in [row for row in rows(kept, "asha", "trials") if row["epochs"]][:4]:
        assert changed("asha", (f"UPDATE trials SET {change} WHERE id = ?", row["id"])), (dict(row), change)


def test_the_rule_itself_cannot_be_changed_afterwards(kept, changed):
    _, names = kept
    for key, value in (("reduction", 3), ("grace", 2), ("pooled_rungs", True), ("epochs", 4), ("trials", 3)):
        sql = f"UPDATE searches SET settings = json_set(settings, '$.{key}', json(?)) WHERE id = ?"
        assert changed("asha", (sql, json.dumps(value), names["asha"])), key
    assert changed("asha", ("UPDATE searches SET settings = json_set(settings, '$.scheduler', 'hyperband') WHERE id = ?",
                            names["asha"]))  # fmt: skip


def test_reports_told_in_another_order_are_found(kept, changed):
    """Two decisions at one rung in the other order: the cut-offs no longer follow."""
    judged = [row for row in rows(kept, "asha", "decisions") if row["epoch"] == 1]
    one, other = judged[0], judged[-1]
    assert one["value"] != other["value"]
    assert changed(
        "asha",
        ("UPDATE decisions SET id = 999999 WHERE id = ?", one["id"]),
        ("UPDATE decisions SET id = ? WHERE id = ?", one["id"], other["id"]),
        ("UPDATE decisions SET id = ? WHERE id = 999999", other["id"]),
    )


def test_a_trial_that_was_trained_on_other_data_is_named_unless_the_change_was_accepted(kept, changed):
    folder, names = kept
    with Store.open(f"sqlite:///{folder}/arbor.db") as store:
        recorded = store.search(names["asha"]).settings["data_checksum"]
    trial = rows(kept, "asha", "trials")[2]["id"]

    def trained_on(checksum):
        return "UPDATE trials SET provenance = json_set(provenance, '$.data_checksum', ?) WHERE id = ?", checksum, trial

    assert changed("asha", trained_on(recorded)) == []
    said = f"{trial} was trained on data with the checksum {'f' * 12}, but its search's have {recorded[:12]}"
    assert changed("asha", trained_on("f" * 64)) == [said]
    changes = [{"at": "2026-11-30", "changed": ["trials: 6 -> 8", f"data_checksum: {'f' * 64} -> {recorded}"],
                "accepted": ["The data set 'digits' has changed."], "outside": 0}]  # fmt: skip
    accepted = "UPDATE searches SET provenance = json_set(provenance, '$.changes', json(?)) WHERE id = ?"
    assert changed("asha", trained_on("f" * 64), (accepted, json.dumps(changes), names["asha"])) == []
    assert len(changed("asha", trained_on("e" * 64), (accepted, json.dumps(changes), names["asha"]))) == 1
    older = "UPDATE searches SET settings = json_remove(settings, '$.data_checksum') WHERE id = ?"
    assert changed("asha", trained_on("f" * 64), (older, names["asha"])) == []


def test_an_ended_search_has_no_unfinished_trials(kept, changed):
    _, names = kept
    trial = rows(kept, "none", "trials")[0]["id"]
    found = changed("none", ("UPDATE trials SET status = 'interrupted', ended = NULL WHERE id = ?", trial))
    assert any(f"{names['none']} is ended, but has trials that are interrupted" in each for each in found)


@given(brackets=st.integers(1, 6), reduction=st.integers(2, 4))
def test_the_second_implementation_deals_brackets_as_the_first(brackets, reduction):
    assert _cycle(brackets, reduction) == dealt(brackets, reduction)


def test_the_command_prints_what_it_checked_and_exits_with_1_where_something_is_wrong(kept, tmp_path):
    folder, names = kept
    storage = ["--storage", f"sqlite:///{folder}/arbor.db"]
    done = CliRunner().invoke(app, [names["asha"], *storage])
    assert done.exit_code == 0, done.output
    assert done.output.count("  ok  ") == 8
    assert (
        "every decision follows from the rule (asha, grace 1, reduction 2, horizon 9, a race for each kind)"
        in done.output
    )
    assert f"Verdict: {names['asha']} is a valid history." in done.output

    with sqlite3.connect(folder / "arbor.db") as whole:
        whole.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "arbor.db", tmp_path / "arbor.db")
    with sqlite3.connect(tmp_path / "arbor.db") as connection:
        connection.execute("DELETE FROM epochs WHERE trial_id = ? AND epoch = 1", (f"{names['asha']}.1",))
    storage = ["--storage", f"sqlite:///{tmp_path}/arbor.db"]
    done = CliRunner().invoke(app, [names["asha"], *storage])
    assert done.exit_code == 1
    assert f"- {names['asha']}.1 should have" in done.output
    assert "is not a valid history" in done.output
    done = CliRunner().invoke(app, [names["asha"], "--json", *storage])
    assert done.exit_code == 1
    assert not json.loads(done.stdout)["valid"]


def test_what_no_scheduler_drove_is_refused(tmp_path, digits):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        single = store.create_search("single", "?", {"variants": []}, {})
        with pytest.raises(InputError, match=r"was not made by search\.run"):
            audit(store, single)
        strange = searched(store, replace(SEARCH, trials=1), tmp_path)
        settings = store.search(strange).settings
        store.update_search(strange, settings={**settings, "scheduler": "pbt"})
        with pytest.raises(InputError, match="ran under 'pbt', a scheduler unknown"):
            audit(store, strange)


@pytest.mark.parametrize("scheduler", ["hyperband", "median"])
def test_a_search_on_postgresql_resumes_exactly_and_is_valid(postgres, digits, tmp_path, scheduler):
    """Numbers and the order of events survive that database, too: a memory-keeping sampler is brought back by them."""
    experiment = replace(SEARCH, name=f"on_{scheduler}", scheduler=scheduler, sampler="nsgaii", reduction=2)
    header = read_header("digits")
    with Store.open(postgres) as store:
        resources = plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=None, threads=1)
        stored = settings_of("toy.py", experiment, resources, header, 4, ())
        whole, broken = (store.create_search(experiment.name, "?", stored, {}) for _ in range(2))
        run(lambda: session_of(store, whole, experiment, header, tmp_path)).close()

        def exact():
            session = session_of(store, broken, experiment, header, tmp_path)
            assert session.supply.sampler_is_exact
            return session

        run(exact, kill_after=1).close()
        assert history(store, broken) == history(store, whole)
        assert violations(store, whole) == violations(store, broken) == []
