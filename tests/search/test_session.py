"""A search's state without Ray: real store, sampler and scheduler; the curves are made up, the decisions are not."""

import math
import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from results.losses import lost_workers
from results.rows import EpochRow
from results.store import Store
from search import announcement
from search.ended import BEST, Ended
from search.experiment import Experiment
from search.ray_watch import resume_arguments
from search.resources import plan_resources
from search.sampler import Sampler, point_of
from search.session import RETRIES, Session
from search.space import suggest_ffn
from trainer.dataset import read_header
from trainer.lease import SupersededError
from trainer.report import Report

EPOCHS = 9


def space(scope):
    return {**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-4, 1e-2, log=True)}


SEARCH = Experiment(
    name="toy", question="?", base={"data": "digits", "epochs": EPOCHS, "batch_size": 64}, space=space, trials=14
)
COMPARISON = Experiment(
    name="pairs", question="?", base={"data": "digits", "epochs": 2, "batch_size": 64},
    grid=[{"ffn": "mlp", "ffn.mlp.hidden": 8}, {"ffn": "mlp", "ffn.mlp.hidden": 16}], seeds=(0, 1),
)  # fmt: skip


@pytest.fixture
def header(digits):
    return read_header("digits")


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def new_search(store, experiment):
    return store.create_search(experiment.name, "?", {}, {})


def session_of(store, search_id, experiment, header, tmp_path, concurrency=1):
    return Session(
        store, search_id, experiment,
        folder=tmp_path, header=header, concurrency=concurrency, gpus_per_trial=0, startup_trials=4,
    )  # fmt: skip


def report_of(flat, epoch, value=None, status=None):
    """A curve that rises towards a level which depends on the rate."""
    level = 0.9 - 0.1 * abs(math.log10(flat["lr"] / 1e-3)) - (0.05 if flat["ffn"] == "fff" else 0)
    value = level * (1 - 0.5**epoch) if value is None else value
    if status is None:
        status = "finished" if epoch == flat["epochs"] else "running"
    row = EpochRow(
        epoch=epoch, train_loss=1 - value, val_loss=1 - value, val_acc=value, lr=flat["lr"],
        train_seconds=1.0, val_seconds=0.1, images_per_second=100.0,
    )  # fmt: skip
    return Report(row=row, status=status, wall_seconds=float(epoch), test_acc=value if status == "finished" else None)


def run(make_session, kill_after=None):
    """Train all trials on one slot; with `kill_after`, forget the session after so many reports and make a new one."""
    session, reports = make_session(), 0
    while True:
        assignment = session.next_trial()
        if assignment is None:
            assert session.done
            return session
        epoch, stop = assignment.reported, False
        while not stop:
            epoch += 1
            stop = session.report(assignment.trial_id, report_of(assignment.flat, epoch), {})
            reports += 1
            if kill_after and reports % kill_after == 0:
                session = make_session()
                break


def history(store, search_id):
    trials = [(row.number, row.config, row.status, row.epochs, row.val_acc) for row in store.trials(search_id)]
    decisions = [(d.trial_id.rpartition(".")[2], d.epoch, d.cutoff, d.decision) for d in store.decisions(search_id)]
    return trials, decisions


def deep_or_none(scope):
    lr = scope.float("lr", 1e-4, 1e-2, log=True)
    return {"lr": lr, "ffn": "csc", "ffn.csc.hidden": 16, "ffn.csc.fanin": 10**6 if lr > 5e-3 else 2}


@pytest.mark.parametrize("kill_after", [None, 3])
def test_a_point_that_cannot_be_trained_is_said_and_passed_over(store, header, tmp_path, kill_after):
    experiment, notes = replace(SEARCH, space=deep_or_none), []
    search_id = new_search(store, experiment)

    def made():
        session = session_of(store, search_id, experiment, header, tmp_path)
        session.on_note = notes.append
        return session

    run(made, kill_after)
    rows = store.trials(search_id)
    assert len(rows) == 14
    assert all(row.config["ffn.csc.fanin"] == 2 for row in rows)
    assert {row.status for row in rows} == {"finished", "stopped"}
    assert notes
    assert all(
        note.startswith('A point of the space cannot be trained and is passed over: "ffn.csc.fanin"') for note in notes
    )


def by_other_names(scope):
    """Draws that are no keys of a trial, or are converted on their way into its dictionary."""
    width = int(32 * scope.float("ratio", 0.5, 8, log=True))
    rate = scope.categorical("rate", ("1e-3", "3e-3", "5e-4"))
    patience = scope.categorical("patience", (None, 2, 30))
    return {"ffn": "mlp", "ffn.mlp.hidden": width, "lr": rate, "patience": patience}


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii"])
def test_what_a_space_draws_by_any_name_is_recalled_after_a_kill_and_may_be_resumed(store, header, tmp_path, sampler):
    experiment = replace(SEARCH, space=by_other_names, sampler=sampler)
    whole, broken = (new_search(store, experiment) for _ in range(2))
    run(lambda: session_of(store, whole, experiment, header, tmp_path / "whole"))
    run(lambda: session_of(store, broken, experiment, header, tmp_path / "broken"), kill_after=3)
    assert history(store, broken) == history(store, whole)
    assert {row.config["patience"] for row in store.trials(whole)} == {None, 2, 30}
    known = Sampler(experiment, 4)
    for row in store.trials(whole):
        known.recall(row.number, point_of(row.config, row.provenance["drawn"]))
        assert known.place(row.provenance["drawn"]) is not None


def test_a_search_on_one_slot_stops_the_weak_and_finishes_the_rest(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = run(lambda: session_of(store, search_id, SEARCH, header, tmp_path))
    rows = store.trials(search_id)
    assert len(rows) == 14
    assert {row.status for row in rows} == {"finished", "stopped"}
    assert all(row.epochs == EPOCHS for row in rows if row.status == "finished")
    assert all(row.epochs in (1, 3) for row in rows if row.status == "stopped")
    assert all("asha" in row.cause for row in rows if row.status == "stopped")
    assert session.close() == "ended"
    assert store.search(search_id).status == "ended"


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("kill_after", [1, 2, 5])
def test_sessions_killed_again_and_again_decide_as_one_that_lived(store, header, tmp_path, kill_after, scheduler):
    experiment = replace(SEARCH, scheduler=scheduler)
    whole, broken = new_search(store, experiment), new_search(store, experiment)
    run(lambda: session_of(store, whole, experiment, header, tmp_path / "a"))
    run(lambda: session_of(store, broken, experiment, header, tmp_path / "b"), kill_after=kill_after)
    assert history(store, broken) == history(store, whole)
    stops = {row.status for row in store.trials(whole)}
    assert stops == ({"finished"} if scheduler == "none" else {"finished", "stopped"})
    assert {decision.scheduler for decision in store.decisions(whole)} <= {scheduler}


@pytest.mark.parametrize("settings", [{"sampler": "nsgaii", "objectives": ("val_acc", "parameters")}, {"sampler": "grid"},
                                      {"objectives": ("val_acc", "macs")}, {"sampler": "QMCSampler"}])  # fmt: skip
def test_any_sampler_asks_the_same_after_a_kill_at_every_report(store, header, tmp_path, settings):
    experiment = replace(SEARCH, **settings, scheduler="median")
    whole, broken = new_search(store, experiment), new_search(store, experiment)
    run(lambda: session_of(store, whole, experiment, header, tmp_path / "a"))

    def exact():
        session = session_of(store, broken, experiment, header, tmp_path / "b")
        assert session.supply.sampler_is_exact
        return session

    run(exact, kill_after=1)
    assert history(store, broken) == history(store, whole)


def test_a_measured_latency_is_in_the_row_before_a_worker_hears_of_the_trial_and_is_measured_once(
    store, header, tmp_path
):
    tiny = {**SEARCH.base, "patch": 16, "dim": 16, "depth": 1, "heads": 1}
    experiment = replace(
        SEARCH, base=tiny, trials=4, sampler="nsgaii", objectives=("val_acc", "latency_seconds"), scheduler="none"
    )
    found = []
    for name in ("a", "b"):
        search_id = new_search(store, experiment)
        session = session_of(store, search_id, experiment, header, tmp_path / name, concurrency=2)
        first = store.trial(session.next_trial().trial_id)
        assert first.status == "running"
        assert 0 < first.latency_seconds < 60
        session.release(first.id)
        run(lambda: session_of(store, search_id, experiment, header, tmp_path / name))  # noqa: B023  # at once
        found.append([row.latency_seconds for row in store.trials(search_id)])
    assert found[0] == found[1]  # two measurements are never the same number: the second search knew them
    assert len(set(found[0])) == 4


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_four_slots_killed_at_any_report_are_judged_as_if_nothing_had_happened(store, header, tmp_path, scheduler):
    """A session made from the store in the middle of a search says of each further report what the living one says."""
    experiment = replace(SEARCH, scheduler=scheduler, reduction=2)
    search_id = new_search(store, experiment)
    session = session_of(store, search_id, experiment, header, tmp_path, concurrency=4)
    live = [session.next_trial() for _ in range(4)]
    epochs, order = {each.trial_id: 0 for each in live}, random.Random(7)
    compared = 0
    while live:
        each = order.choice(live)
        epochs[each.trial_id] += 1
        report = report_of(each.flat, epochs[each.trial_id])
        if not report.ended:
            entrant = session._entrant(session.trial(each.trial_id))
            again = session_of(store, search_id, experiment, header, tmp_path, concurrency=4)
            foretold = again.scheduler.judge(entrant, report.row.epoch, report.row.val_acc)
            said = []
            session.on_event = lambda row, report, verdict, said=said: said.append(verdict)
        if session.report(each.trial_id, report, {}):
            live.remove(each)
            following = session.next_trial()
            if following is not None:
                live.append(following)
                epochs[following.trial_id] = 0
        if not report.ended:
            assert said == [foretold]
            compared += 1
    assert compared > 30


def test_a_repeated_or_late_report_changes_nothing(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path)
    assignment = session.next_trial()
    first = report_of(assignment.flat, 1)
    assert not session.report(assignment.trial_id, first, {})
    before = history(store, search_id)
    assert not session.report(assignment.trial_id, first, {})
    assert history(store, search_id) == before
    session.fail(assignment.trial_id, "its node was lost")
    assert session.report(assignment.trial_id, report_of(assignment.flat, 2), {})
    assert store.trial(assignment.trial_id).epochs == 1


def test_a_diverged_trial_is_recorded_at_once_and_the_search_goes_on(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path)
    assignment = session.next_trial()
    report = report_of(assignment.flat, 1, value=math.nan, status="diverged")
    assert session.report(assignment.trial_id, report, {})
    row = store.trial(assignment.trial_id)
    assert (row.status, row.val_acc) == ("diverged", None)
    assert store.decisions(search_id) == []
    assert "not finite in epoch 1" in row.cause
    assert session.next_trial() is not None


def test_a_running_trial_whose_accuracy_is_not_a_number_is_stopped_at_its_rung(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path)
    assignment = session.next_trial()
    assert session.report(assignment.trial_id, report_of(assignment.flat, 1, value=math.nan, status="running"), {})
    row = store.trial(assignment.trial_id)
    assert (row.status, row.cause) == ("stopped", "asha: the accuracy at epoch 1 was not a number")
    (decision,) = store.decisions(search_id)
    assert (decision.value, decision.cutoff, decision.decision) == (None, None, "stop")
    following = session_of(store, search_id, SEARCH, header, tmp_path).next_trial()
    assert following.number == 2


def test_a_session_keeps_no_row_of_a_trial_that_has_ended_but_a_few_of_the_best(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = run(lambda: session_of(store, search_id, SEARCH, header, tmp_path))
    rows = store.trials(search_id)
    assert session.unfinished == {}
    assert (len(session.ended), session.ended.epochs) == (len(rows), sum(row.epochs for row in rows))
    assert session.ended.statuses == Counter(row.status for row in rows)
    finished = [row for row in rows if row.status == "finished"]
    assert session.ended.best[0] == max(finished, key=lambda row: row.val_acc)
    assert session.ended.best == session_of(store, search_id, SEARCH, header, tmp_path).ended.best
    for row in rows:  # one that comes late is answered from the store
        assert session.trial(row.id) == row
        assert session.report(row.id, report_of(row.config, row.epochs + 1), {})
    assert store.trials(search_id) == rows


def test_what_stopped_early_stands_below_what_went_on_whatever_its_accuracy(store, header, tmp_path):
    ended, rows = Ended(), []
    search_id = new_search(store, SEARCH)
    ends = [("stopped", 3, 0.9), ("finished", 9, 0.5), ("diverged", 9, 0.8), ("stopped", 1, 0.95), ("finished", 9, 0.6)]
    for number, (status, epochs, value) in enumerate(ends, start=1):
        trial = store.add_trial(search_id, number, {"ffn": "mlp"}, parameters=1, neurons_used=1, macs=1,
                                macs_conditional=1)  # fmt: skip
        store.update_trial(trial, status=status, epochs=epochs, val_acc=value, wall_seconds=float(epochs))
        rows.append(store.trial(trial))
        ended.add(rows[-1])
    assert [row.number for row in ended.best] == [5, 2, 3, 1, 4]
    assert ended.mean_seconds == 31 / 5
    for _ in range(BEST):
        ended.add(rows[0])
    assert [row.number for row in ended.best] == [5, 2, 3, *[1] * (BEST - 3)]
    ended.add(replace(rows[1], number=6, status="plateau", epochs=5, val_acc=0.7))  # ranked by accuracy, however short
    assert [row.number for row in ended.best][:3] == [6, 5, 2]


def test_no_more_trials_are_given_out_than_there_are_slots(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path, concurrency=2)
    first, second = session.next_trial(), session.next_trial()
    assert session.next_trial() is None
    assert not session.done
    session.fail(first.trial_id, "?")
    assert session.next_trial().number == second.number + 1


def test_a_comparison_trains_every_variant_with_every_seed_and_stops_none(store, header, tmp_path):
    search_id = new_search(store, COMPARISON)
    run(lambda: session_of(store, search_id, COMPARISON, header, tmp_path))
    rows = store.trials(search_id)
    assert [(row.config["ffn.mlp.hidden"], row.seed) for row in rows] == [(8, 0), (16, 0), (8, 1), (16, 1)]
    assert {row.status for row in rows} == {"finished"}
    assert store.decisions(search_id) == []


def test_an_ended_comparison_trains_only_the_added_seeds_and_variants(store, header, tmp_path):
    search_id = new_search(store, COMPARISON)
    run(lambda: session_of(store, search_id, COMPARISON, header, tmp_path))
    longer = replace(COMPARISON, seeds=(0, 1, 2), grid=[*COMPARISON.grid, {"ffn": "fff", "ffn.fff.depth": 2}])
    session = session_of(store, search_id, longer, header, tmp_path)
    assert session.planned == 9
    assert not session.complete
    run(lambda: session)
    rows = store.trials(search_id)
    assert len(rows) == 9
    assert len({(row.variant, row.seed) for row in rows}) == 9
    assert [row.number for row in rows] == list(range(1, 10))


def test_an_interrupted_trial_comes_first_when_the_search_goes_on(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path, concurrency=2)
    one, two = session.next_trial(), session.next_trial()
    session.report(two.trial_id, report_of(two.flat, 1), {})
    assert session.close() == "interrupted"
    again = session_of(store, search_id, SEARCH, header, tmp_path, concurrency=2)
    taken = [again.next_trial(), again.next_trial()]
    assert [(a.trial_id, a.reported, a.flat) for a in taken] == [
        (one.trial_id, 0, one.flat),
        (two.trial_id, 1, two.flat),
    ]


def test_gpu_hours_end_a_session_once_its_live_trials_have_used_them(store, header, tmp_path):
    now = [1000.0]
    search_id = new_search(store, SEARCH)
    session = Session(
        store, search_id, SEARCH,
        folder=tmp_path, header=header, concurrency=2, gpus_per_trial=0.5, startup_trials=4, gpu_hours=1.0,
        clock=lambda: now[0],
    )  # fmt: skip
    now[0] += 9000  # nothing lives, nothing counts
    one, two = session.next_trial(), session.next_trial()
    now[0] += 1800  # 0.5 GPU-hours of two
    assert not session.report(one.trial_id, report_of(one.flat, 1), {})
    session.release(two.trial_id)
    now[0] += 3500
    assert not session.budget.used_up
    now[0] += 101
    assert session.budget.used_up
    assert session.done
    assert session.next_trial() is None
    assert session.report(one.trial_id, report_of(one.flat, 2), {})
    assert session.close() == "interrupted"


def test_a_writer_killed_in_the_middle_leaves_no_half_report(tmp_path, header):
    """kill -9 of a process that commits reports as fast as it can: every epoch has its trial columns and decision."""
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_session import SEARCH, new_search, report_of, session_of
        from results.store import Store
        from trainer.dataset import read_header
        from pathlib import Path
        store = Store.open("sqlite:///{tmp_path}/arbor.db")
        session = session_of(store, new_search(store, SEARCH), SEARCH, read_header("digits"), Path({str(tmp_path)!r}))
        print("ready", flush=True)
        while (assignment := session.next_trial()) is not None:
            epoch = 0
            while not session.report(assignment.trial_id, report_of(assignment.flat, epoch := epoch + 1), {{}}):
                print("x", flush=True)
        """
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    for _ in range(12):
        process.stdout.readline()
    process.kill()
    process.wait()
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        search_id = store.latest_search()
        assert search_id is not None
        rows = store.trials(search_id)
        assert sum(row.epochs for row in rows) >= 5
        judged = {(d.trial_id, d.epoch) for d in store.decisions(search_id)}
        for row in rows:
            epochs = [entry.epoch for entry in store.epochs(row.id)]
            assert epochs == list(range(1, row.epochs + 1))
            assert all((row.id, rung) in judged for rung in (1, 3) if rung <= row.epochs)


def test_a_report_of_an_earlier_attempt_than_the_latest_changes_nothing(store, header, tmp_path):
    """A worker that was cut off reports after its trial has started again elsewhere, also after a new driver."""
    name = new_search(store, SEARCH)
    session = session_of(store, name, SEARCH, header, tmp_path)
    given = session.next_trial()
    first = session.attempt(given.trial_id)
    session.report(given.trial_id, report_of(given.flat, 1), {}, attempt=first)
    session.lose(given.trial_id, "its node is gone")
    assert session.next_trial().trial_id == given.trial_id
    second = session.attempt(given.trial_id)
    assert (first, second) == (1, 2)
    assert session.report(given.trial_id, report_of(given.flat, 2, value=0.99), {}, attempt=first) is False
    assert store.trial(given.trial_id).epochs == 1
    session.report(given.trial_id, report_of(given.flat, 2), {}, attempt=second)
    assert store.epochs(given.trial_id)[-1].val_acc == report_of(given.flat, 2).row.val_acc

    session = session_of(store, name, SEARCH, header, tmp_path)
    assert session.next_trial().trial_id == given.trial_id
    assert session.attempt(given.trial_id) == 3
    session.report(given.trial_id, report_of(given.flat, 3), {}, attempt=second)
    assert store.trial(given.trial_id).epochs == 2


def test_a_driver_whose_worker_was_superseded_by_anothers_gives_the_search_up(store, header, tmp_path):
    session = session_of(store, new_search(store, SEARCH), SEARCH, header, tmp_path)
    given = session.next_trial()
    with pytest.raises(SupersededError, match="Another process drives toy-1 by now"):
        session.superseded(given.trial_id, 1)
    session.fail(given.trial_id, "stopped in the middle")
    session.superseded(given.trial_id, 1)  # its files are gone, as they should be


def test_losses_of_a_worker_count_over_all_drivers_and_after_the_last_retry_the_trial_has_failed(
    store, header, tmp_path
):
    search_id = new_search(store, SEARCH)
    for driver in range(3):  # each is killed after one loss
        session = session_of(store, search_id, SEARCH, header, tmp_path)
        notes = []
        session.on_note = notes.append
        assignment = session.next_trial()
        assert assignment.trial_id == "toy-1.1"
        session.report("toy-1.1", report_of(assignment.flat, driver + 1, value=0.99), {"host": "here"})
        session.lose("toy-1.1", "the worker died" if driver else "the worker was silent")
        assert len(notes) == (driver < 2)
    row = store.trial("toy-1.1")
    assert (row.status, row.epochs) == ("failed", 3)
    assert row.cause == (
        "given up after 3 tries: the worker was silent after epoch 1; the worker died after epochs 2, 3"
    )
    assert row.provenance["host"] == "here"
    session.lose("toy-1.1", "an orphan died")
    assert store.trial("toy-1.1") == row, "what has ended changes no more"


def test_a_trial_out_of_memory_goes_on_in_smaller_parts_under_any_driver_until_there_are_none(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path)
    assignment = session.next_trial()
    assert assignment.accumulation == 1
    assert session.run_out_of_memory("toy-1.1", 1) == 2
    session.report("toy-1.1", report_of(assignment.flat, 1, value=0.99), {})
    assert session.run_out_of_memory("toy-1.1", 2) == 4
    again = session_of(store, search_id, SEARCH, header, tmp_path)  # the first was killed
    assignment = again.next_trial()
    assert (assignment.trial_id, assignment.accumulation, assignment.flat["accumulation"]) == ("toy-1.1", 4, 1)
    assert lost_workers(again.trial("toy-1.1").provenance) == [], "memory takes no retry of a lost worker"
    assert [again.run_out_of_memory("toy-1.1", parts) for parts in (4, 8, 16)] == [8, 16, None]
    row = store.trial("toy-1.1")
    assert row.status == "failed"
    assert row.cause.startswith("the GPU's memory was full with micro-batches of 4, and smaller ones were tried")
    assert again.next_trial().trial_id == "toy-1.2"


def test_a_trial_whose_worker_died_is_the_next_one_and_fails_when_it_dies_too_often(store, header, tmp_path):
    search_id = new_search(store, SEARCH)
    session = session_of(store, search_id, SEARCH, header, tmp_path)
    notes = []
    session.on_note = notes.append
    first = session.next_trial()
    session.report(first.trial_id, report_of(first.flat, 1), {})
    for _ in range(RETRIES):
        session.lose(first.trial_id, "its worker died")
        again = session.next_trial()
        assert (again.trial_id, again.flat, again.reported) == (first.trial_id, first.flat, 1)
    assert [note.rpartition(" (")[0] for note in notes] == [
        f"{first.trial_id}: its worker died after epoch 1; it starts again from its last checkpoint"
    ] * 2
    session.lose(first.trial_id, "its worker died")
    assert session.trial(first.trial_id).status == "failed"
    assert session.trial(first.trial_id).cause == "given up after 3 tries: its worker died after epochs 1, 1, 1"
    assert session.next_trial().number == 2


def test_a_search_goes_on_in_a_new_process_with_what_is_left_of_its_budgets(store, header, tmp_path):
    now = [0.0]
    session = Session(
        store, new_search(store, SEARCH), SEARCH, folder=tmp_path, header=header, concurrency=1, gpus_per_trial=0.5,
        startup_trials=4, time_budget_seconds=600, gpu_hours=1, clock=lambda: now[0],
    )  # fmt: skip
    session.next_trial()
    now[0] = 360.0
    assert resume_arguments(session, ["--no-dashboard"]) == [
        "-m", "search.run", "--resume", "toy-1", "--storage", store.url, "--time-budget", "240s",
        "--gpu-hours", "0.950000", "--no-dashboard",
    ]  # fmt: skip
    free = session_of(store, new_search(store, SEARCH), SEARCH, header, tmp_path)
    assert resume_arguments(free, ["--dashboard"])[2:] == ["--resume", "toy-2", "--storage", store.url, "--dashboard"]


def test_more_processes_than_cores_are_noted(store, header, tmp_path):
    session = session_of(store, new_search(store, SEARCH), SEARCH, header, tmp_path)
    fits = plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=0, threads=1)
    too_many = replace(fits, concurrency=fits.cpus + 1)
    found = [[note for note in announcement._notes(session, each) if "processes at once share" in note]
             for each in (fits, too_many)]  # fmt: skip
    assert (len(found[0]), len(found[1])) == (0, 1)
    assert f"--concurrency {fits.cpus} gives each a core" in found[1][0]
