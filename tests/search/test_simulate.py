"""The simulator: virtual time, the real session; what-ifs on recorded curves; and a real search that it repeats."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from results.audited import audit
from results.errors import InputError
from results.rows import EpochRow
from results.store import Store
from search.prepare import experiment_of, settings_of
from search.resources import plan_resources
from search.session import Session
from search.simulate import app, parse_numbers
from search.simulated import Clock, Given, recorded, reports_of, simulate
from search.whatif import Setting, outcome, rank_correlations, recording
from trainer.dataset import read_header
from trainer.report import Report

sys.path.insert(0, str(Path(__file__).parent))
from test_session import COMPARISON, SEARCH, history, new_search, report_of, run, session_of

EPOCHS = 4


@pytest.fixture
def header(digits):
    return read_header("digits")


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def made_up(assignment):
    for epoch in range(assignment.reported + 1, assignment.flat["epochs"] + 1):
        yield report_of(assignment.flat, epoch)


def virtual(store, experiment, header, folder, *, slots=1, **options):
    clock = Clock()
    session = Session(
        store, new_search(store, experiment), experiment, folder=folder, header=header, concurrency=slots,
        gpus_per_trial=0, startup_trials=4, clock=clock, **options,
    )  # fmt: skip
    return session, clock


@pytest.mark.parametrize("settings", [{}, {"scheduler": "hyperband"}, {"scheduler": "median", "sampler": "nsgaii"}])
def test_one_simulated_slot_decides_as_one_real_one(store, header, tmp_path, settings):
    experiment = replace(SEARCH, **settings)
    real = new_search(store, experiment)
    run(lambda: session_of(store, real, experiment, header, tmp_path / "a"))
    session, clock = virtual(store, experiment, header, tmp_path / "b")
    assert simulate(session, made_up, clock) == "ended"
    assert history(store, session.search_id) == history(store, real)
    assert clock.now == pytest.approx(1.1 * sum(row.epochs for row in store.trials(real)))


def test_slots_run_side_by_side_in_virtual_time_and_reports_come_in_the_order_of_their_ends(store, header, tmp_path):
    """Two slots; the first trial's epochs take 3 seconds, the second's 2: worked by hand."""
    experiment = replace(SEARCH, trials=2, scheduler="none", base={**SEARCH.base, "epochs": 3})
    session, clock = virtual(store, experiment, header, tmp_path, slots=2)
    arrived = []
    session.on_event = lambda row, report, verdict: arrived.append((clock.now, row.id[-1], report.row.epoch))

    def curve(assignment):
        for report in made_up(assignment):
            seconds = 3.0 if assignment.number == 1 else 2.0
            yield replace(report, row=replace(report.row, train_seconds=seconds, val_seconds=0.0))

    simulate(session, curve, clock)
    assert arrived == [(2, "2", 1), (3, "1", 1), (4, "2", 2), (6, "1", 2), (6, "2", 3), (9, "1", 3)]


def test_a_budget_of_virtual_time_interrupts_and_a_new_session_goes_on(store, header, tmp_path):
    session, clock = virtual(store, SEARCH, header, tmp_path, time_budget_seconds=10)
    assert simulate(session, made_up, clock) == "interrupted"
    rows = store.trials(session.search_id)
    assert sum(row.epochs for row in rows) == 10  # 9.9 seconds are not more than 10, 11 are
    again = session_of(store, session.search_id, SEARCH, header, tmp_path)
    assert simulate(again, made_up, Clock()) == "ended"
    whole, clock = virtual(store, SEARCH, header, tmp_path)
    simulate(whole, made_up, clock)
    assert history(store, again.search_id) == history(store, whole.search_id)


def test_a_curve_that_ends_too_early_is_an_error(store, header, tmp_path):
    session, clock = virtual(store, SEARCH, header, tmp_path)
    with pytest.raises(ValueError, match=r"The curve of toy-1\.1 ends, but the trial was to train on"):
        simulate(session, lambda assignment: iter([report_of(assignment.flat, 1)]), clock)


# what-ifs

CURVES = {  # the final order is a > b > c > d; at epoch 1 the last two seem best, at epoch 2 the order is the final one
    "a": (0.10, 0.40, 0.60, 0.90),
    "b": (0.20, 0.35, 0.50, 0.80),
    "c": (0.40, 0.30, 0.40, 0.50),
    "d": (0.30, 0.20, 0.30, 0.40),
}


def keep(store, header, curves=CURVES, *, experiment=None, statuses=(), gpus=0.0, **settings):
    """A recorded search: one trial a curve, in their order, its epochs two seconds each."""
    resources = replace(plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=None, threads=1),
                        gpus_per_trial=gpus)  # fmt: skip
    if experiment is None:
        experiment = replace(SEARCH, scheduler="none", trials=len(curves), base={**SEARCH.base, "epochs": EPOCHS},
                             pooled_rungs=True)  # fmt: skip
    stored = settings_of("toy.py", experiment, resources, header, 4, ()) | settings
    search_id = store.create_search("toy", "?", stored, {})
    session = Session(store, search_id, experiment, folder=Path("/nowhere"), header=header, concurrency=1,
                      gpus_per_trial=gpus, startup_trials=4)  # fmt: skip
    for number, curve in enumerate(curves.values()):
        assignment = session.next_trial()
        for epoch, value in enumerate(curve, start=1):
            last = dict(statuses).get(number, "finished" if epoch == EPOCHS else "running")
            row = EpochRow(epoch=epoch, train_loss=1.0, val_loss=1.0, val_acc=value, lr=1e-3, train_seconds=1.5,
                           val_seconds=0.5, images_per_second=1.0)  # fmt: skip
            status = last if epoch == len(curve) else "running"
            session.report(assignment.trial_id, Report(row=row, status=status, wall_seconds=2.0 * epoch), {})
    return search_id


def test_a_what_if_worked_by_hand(store, header):
    """One slot, trials a b c d in this order, reduction 2.

    Grace 1: at epoch 1 a is first and goes on, b (0.2 of 0.1, 0.2) goes on, c (0.4) goes on, d (0.3; best two are 0.4, 0.3)
    goes on; at epoch 2 a goes on, b (0.35 below 0.4) stops, c (0.3 below 0.4) stops, d (0.2; best two 0.4, 0.35) stops.
    Grace 2: b, c and d stop at epoch 2 likewise.
    """
    found = recording(store, keep(store, header, gpus=0.5))
    one = outcome(found, Setting(scheduler="asha", grace=1, reduction=2), concurrency=1, orders=1)
    assert (one.stopped, one.epochs, one.regret, one.worst_regret, one.best_kept) == (3, 4 + 2 + 2 + 2, 0, 0, 1)
    assert one.hours == pytest.approx(10 * 2 * 0.5 / 3600)
    assert one.hours_saved == pytest.approx(6 * 2 * 0.5 / 3600)
    two = outcome(found, Setting(scheduler="asha", grace=2, reduction=2), concurrency=1, orders=1)
    assert (two.stopped, two.epochs, two.regret) == (3, 10, 0)
    none = outcome(found, Setting(scheduler="none", grace=1, reduction=2), concurrency=1, orders=1)
    assert (none.stopped, none.epochs, none.hours_saved, none.regret) == (0, 16, 0, 0)


def test_a_best_trial_that_starts_slowly_is_missed_and_the_regret_says_by_how_much(store, header):
    """c first: at epoch 1 a, b and d are below it and stop, whatever they would have become."""
    slow = {name: CURVES[name] for name in "cabd"}
    found = recording(store, keep(store, header, slow))
    missed = outcome(found, Setting(scheduler="asha", grace=1, reduction=4), concurrency=1, orders=1)
    assert missed.regret == missed.worst_regret == pytest.approx(0.9 - 0.5)
    assert missed.best_kept == 0
    shuffled = outcome(found, Setting(scheduler="asha", grace=1, reduction=4), concurrency=1, orders=8)
    assert shuffled.worst_regret >= missed.worst_regret
    assert shuffled.regret < missed.regret
    assert 0 < shuffled.best_kept < 1


def test_rank_correlations_worked_by_hand(store, header):
    """Epoch 1: ranks 1 2 4 3 against 4 3 2 1, squares of differences 9 + 1 + 4 + 4, 1 - 6 * 18 / 60 = -0.8."""
    ranks = rank_correlations(recording(store, keep(store, header)), [1, 2, 3])
    assert [(rank.epoch, rank.race, rank.trials) for rank in ranks] == [(1, "all", 4), (2, "all", 4), (3, "all", 4)]
    assert [rank.correlation for rank in ranks] == [pytest.approx(-0.8), pytest.approx(1), pytest.approx(1)]


def test_trials_without_a_complete_curve_are_left_out_and_a_diverged_one_is_no_winner(store, header):
    curves = {**CURVES, "e": (0.5, math.nan)}
    search_id = keep(store, header, curves, statuses=[(4, "diverged")])
    store.update_trial(f"{search_id}.3", status="stopped")
    found = recording(store, search_id)
    assert (len(found.trials), found.left_out, found.final(3)) == (4, 1, None)
    assert outcome(found, Setting(scheduler="none", grace=1, reduction=2), 1, 1).regret == 0


def test_trials_that_tuned_a_rate_are_passed_over_and_counted(store, header):
    search_id = keep(store, header, {**CURVES, "best": (0.95, 0.96, 0.97, 0.99)})
    store.update_trial(f"{search_id}.5", provenance={"lr_tuning": 1e-3})
    found = recording(store, search_id)
    assert (len(found.trials), found.left_out, found.tuning) == (4, 0, 1)
    done = CliRunner().invoke(app, [search_id, "--storage", store.url], env={"COLUMNS": "160"})
    assert f"{search_id}: 4 trials" in done.output
    assert "Note: 1 trial that tuned a learning rate is passed over." in done.output
    assert json.loads(
        CliRunner().invoke(app, [search_id, "--storage", store.url, "--json"]).stdout.splitlines()[-1]
    )["tuning"] == 1  # fmt: skip
    for number in (3, 4):
        store.update_trial(f"{search_id}.{number}", provenance={"lr_tuning": 1e-3})
    with pytest.raises(InputError, match=r"has 2 of 2 \(3 trials that tuned a learning rate are passed over\): run"):
        recording(store, search_id)


def test_too_few_curves_are_refused_with_the_way_out(store, header):
    search_id = keep(store, header, {name: CURVES[name] for name in "ab"})
    with pytest.raises(InputError, match=r"at least 3 trials .* has 2 of 2: run a comparison, or .*--scheduler none"):
        recording(store, search_id)


def test_the_command_prints_a_row_for_each_setting_and_the_json_says_the_same(store, header, tmp_path):
    search_id = keep(store, header)
    common = [search_id, "--reduction", "2,4", "--grace", "1,2", "--orders", "2", "--storage", store.url]
    done = CliRunner().invoke(app, common, env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    for setting in ("reduction=2 grace=1", "reduction=2 grace=2", "reduction=4 grace=1", "reduction=4 grace=2"):
        assert f"asha {setting}" in done.output
    assert "slot-hours" in done.output
    plain = json.loads(CliRunner().invoke(app, [*common, "--json"]).stdout.splitlines()[-1])
    assert [(each["setting"]["reduction"], each["setting"]["grace"]) for each in plain["outcomes"]] == [
        (2, 1), (2, 2), (4, 1), (4, 2),
    ]  # fmt: skip
    assert {rank["epoch"] for rank in plain["rank_correlations"]} == {1, 2}
    assert [search.id for search in store.searches()] == [search_id]


def test_without_settings_the_searchs_own_rule_is_a_row_marked_as_such(store, header):
    search_id = keep(store, header, scheduler="asha", reduction=2, grace=2)
    said = CliRunner().invoke(app, [search_id, "--storage", store.url], env={"COLUMNS": "160"}).output
    assert "asha reduction=2 grace=2 (its own)" in said
    assert "asha reduction=3 grace=1 " in said
    assert said.count("(its own)") == 1
    plain = json.loads(CliRunner().invoke(app, [search_id, "--storage", store.url, "--json"]).stdout.splitlines()[-1])
    assert plain["outcomes"][0]["setting"] == plain["own"]
    given = CliRunner().invoke(app, [search_id, "--grace", "1", "--storage", store.url], env={"COLUMNS": "160"}).output
    assert "its own" not in given


def test_a_table_of_rank_correlations_without_a_row_is_left_out(store, header):
    def said(**how):
        return CliRunner().invoke(app, [keep(store, header, **how), "--storage", store.url]).output

    two_of_each = replace(
        COMPARISON, base={**COMPARISON.base, "epochs": EPOCHS}, grid=[{"ffn": "mlp"}, {"ffn": "fff"}], seeds=(0, 1)
    )
    assert "rank correlation" in said()
    few = said(experiment=two_of_each)  # no order to be seen in two curves of a race
    assert "Regret:" in few
    assert "rank correlation" not in few


@pytest.mark.parametrize(("text", "numbers"), [("2", (2,)), ("4,2", (4, 2))])
def test_numbers_are_parsed(text, numbers):
    assert parse_numbers("--reduction", text, least=2) == numbers


@pytest.mark.parametrize("text", ["", "1", "2,2", "two", "2;3", "-2", "2,"])
def test_other_numbers_are_refused(text):
    with pytest.raises(InputError, match="--reduction"):
        parse_numbers("--reduction", text, least=2)


def test_given_trials_come_in_their_order_and_end():
    given = Given([{"lr": 1.0}, {"lr": 2.0}])
    assert [given.ask(number) for number in (1, 2, 3)] == [{"lr": 1.0}, {"lr": 2.0}, None]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_a_real_search_and_its_simulation_are_equal(place, tmp_path, header, scheduler):
    """Ray, DeepSpeed and DALI on one slot against the simulator on the curves that they recorded."""
    place.run(
        "search.run", "tiny.py", "--concurrency", "1", "--scheduler", scheduler, "--trials", "8", "--pooled-rungs"
    )
    with place.store() as real, Store.open(f"sqlite:///{tmp_path}/virtual.db") as store:
        row = real.search("tiny-1")
        assert all(not check.violations for check in audit(real, "tiny-1"))
        experiment, clock = experiment_of(row.settings, "tiny"), Clock()
        session = Session(
            store, store.create_search("tiny", "?", row.settings, {}), experiment, folder=tmp_path, header=header,
            concurrency=1, gpus_per_trial=0, startup_trials=row.settings["startup_trials"], clock=clock,
        )  # fmt: skip
        simulate(session, recorded(real, "tiny-1"), clock)
        assert history(store, "tiny-1") == history(real, "tiny-1")
        stopped = {each.status for each in store.trials("tiny-1")} == {"finished", "stopped"}
        assert stopped or scheduler == "hyperband"  # few trials in each of its brackets: it may stop none
        trained = [epoch for each in real.trials("tiny-1") for epoch in real.epochs(each.id)]
        assert clock.now == pytest.approx(sum(epoch.train_seconds + epoch.val_seconds for epoch in trained))
        assert list(reports_of(real.trials("tiny-1")[0], [], 0)) == []
