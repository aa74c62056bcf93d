"""Requests from another terminal, through real sessions without Ray, and the command that puts them into the store."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from results.audited import audit
from results.driver_life import driver_process
from results.errors import InputError
from results.store import Store
from search.control import ask
from search.prepare import settings_of
from search.resources import plan_resources

sys.path.insert(0, str(Path(__file__).parent))
from test_session import COMPARISON, SEARCH, history, report_of, run, session_of

from trainer.dataset import read_header

RANDOM = replace(SEARCH, sampler="random", trials=4, reduction=2)


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


@pytest.fixture
def begin(store, digits, tmp_path):
    """A search that this process drives: its id, and a function that makes its session anew."""

    def make(experiment, concurrency=1):
        header = read_header("digits")
        resources = plan_resources(concurrency=1, cpus_per_trial=None, gpus_per_trial=None, threads=1)
        stored = settings_of("toy.py", experiment, resources, header, 4, ())
        search_id = store.create_search(experiment.name, "?", stored, driver_process())
        return search_id, lambda: session_of(store, search_id, experiment, header, tmp_path / search_id, concurrency)

    return make


def violations(store, search_id):
    return [violation for check in audit(store, search_id) for violation in check.violations]


def train(session, assignment, until):
    """Report the epochs of a trial up to this one; whether it stops there."""
    stops = False
    for epoch in range(session.trial(assignment.trial_id).epochs + 1, until + 1):
        assert not stops
        stops = session.report(assignment.trial_id, report_of(assignment.flat, epoch), {})
    return stops


def states(store, search_id):
    return [row.status for row in store.trials(search_id)]


def still_open(store, search_id):
    return [(row.trial_id, row.request) for row in store.requests(search_id, still_open=True)]


def test_a_paused_trial_frees_its_slot_keeps_its_files_and_is_taken_up_where_it_was(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()
    one.folder.mkdir(parents=True)
    (one.folder / "last.pt").touch()
    assert not train(session, one, 1)
    assert ask(store, one.trial_id, "pause") == f"{one.trial_id} will pause at the end of its epoch."
    assert train(session, one, 2)
    assert (states(store, search_id), still_open(store, search_id)) == (["paused"], [])
    assert (one.folder / "last.pt").exists()
    two = session.next_trial()
    assert two.number == 2
    assert train(session, two, 9)
    assert session.next_trial().number == 3
    ask(store, one.trial_id, "resume")
    session.heed()
    session.fail(f"{search_id}.3", "?")
    again = session.next_trial()
    assert (again.trial_id, again.reported, again.folder) == (one.trial_id, 2, one.folder)
    assert train(session, again, 9)
    run(lambda: session)
    assert session.close() == "ended"
    assert violations(store, search_id) == []


def test_a_stopped_trial_has_ended_and_is_pruned_for_the_sampler(store, begin):
    search_id, make = begin(replace(SEARCH, scheduler="none"))
    session = make()
    one = session.next_trial()
    one.folder.mkdir(parents=True)
    (one.folder / "last.pt").touch()
    train(session, one, 1)
    ask(store, one.trial_id, "stop")
    assert train(session, one, 2)
    row = store.trial(one.trial_id)
    assert (row.status, row.cause, row.epochs, row.ended is not None) == ("stopped", "asked", 2, True)
    assert not (one.folder / "last.pt").exists()
    assert [trial.state for trial in session.supply.sampler.study.trials] == [TrialState.PRUNED]
    assert session.next_trial().number == 2
    assert violations(store, search_id) == []


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])
def test_a_search_killed_at_every_report_does_what_was_asked_as_one_that_lived(store, begin, sampler):
    """Trial 2 is stopped, trial 3 paused, each in its second epoch, and 3 resumed in the middle of a later one."""
    experiment = replace(SEARCH, sampler=sampler, scheduler="median", trials=9)
    stories = []
    for kill in (False, True):
        search_id, make = begin(experiment)
        session = make()
        while (assignment := session.next_trial()) is not None or not session.done:
            number, epoch, stop = assignment.number, assignment.reported, False
            while not stop:
                epoch += 1
                if (number, epoch) in ((2, 2), (3, 2)):
                    ask(store, assignment.trial_id, "stop" if number == 2 else "pause")
                if number >= 5 and epoch == 4 and session.paused:
                    ask(store, session.paused[0], "resume")
                stop = session.report(assignment.trial_id, report_of(assignment.flat, epoch), {})
                if kill:
                    session = make()
                    assert session.supply.sampler_is_exact
                    break
        assert session.close() == "ended"
        assert violations(store, search_id) == []
        stories.append(history(store, search_id))
        assert [(row.status, row.epochs) for row in store.trials(search_id)][1:3] == [("stopped", 2), ("finished", 9)]
        assert [(row.request, row.handled is None) for row in store.requests(search_id)] == [
            ("stop", False), ("pause", False), ("resume", False)
        ]  # fmt: skip
    assert stories[0] == stories[1]
    assert "stop" in {decision for *_, decision in stories[0][1]}


def test_trials_without_a_worker_are_stopped_and_paused_at_once(store, begin):
    search_id, make = begin(RANDOM, 2)
    session = make()
    one, two = session.next_trial(), session.next_trial()
    session.close()
    store.update_search(search_id, status="running")
    session = make()
    for trial, request in ((one, "stop"), (two, "pause")):
        ask(store, trial.trial_id, request)
    session.heed()
    assert (states(store, search_id), still_open(store, search_id)) == (["stopped", "paused"], [])
    assert session.next_trial().number == 3
    ask(store, two.trial_id, "stop")
    session.heed()
    assert states(store, search_id)[:2] == ["stopped", "stopped"]
    assert violations(store, search_id) == []


def test_the_last_of_several_requests_counts(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()
    for request in ("pause", "stop", "pause", "resume"):
        ask(store, one.trial_id, request)
    assert not train(session, one, 2)
    assert (states(store, search_id), still_open(store, search_id)) == (["running"], [])


def test_a_request_that_a_killed_driver_had_not_come_to_is_done_by_the_next(store, begin):
    search_id, make = begin(RANDOM)
    one = make().next_trial()
    ask(store, one.trial_id, "stop")
    session = make()
    assert session.next_trial().number == 2
    assert states(store, search_id) == ["stopped", "running"]
    assert violations(store, search_id) == []


def test_a_request_for_a_trial_that_ends_by_itself_is_over(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()
    train(session, one, 8)
    ask(store, one.trial_id, "pause")
    assert train(session, one, 9)
    session.heed()
    assert (states(store, search_id), still_open(store, search_id)) == (["finished"], [])


@pytest.mark.parametrize("experiment", [RANDOM, COMPARISON], ids=["search", "comparison"])
def test_a_paused_search_ends_and_goes_on_when_it_is_resumed(store, begin, experiment):
    experiment = replace(experiment, scheduler="none")
    search_id, make = begin(experiment, 2)
    session = make()
    one, two = session.next_trial(), session.next_trial()
    ask(store, search_id, "pause")
    assert session.next_trial() is None
    assert train(session, one, 1)
    assert train(session, two, 1)
    assert session.done
    assert session.close() == store.search(search_id).status == "paused"
    assert states(store, search_id) == ["interrupted", "interrupted"]
    assert still_open(store, search_id) == []
    assert violations(store, search_id) == []
    session = make()
    assert session.next_trial().reported == 1
    session.release(one.trial_id)
    assert run(lambda: session).close() == "ended"


def test_a_stopped_search_ends_its_trials_and_trains_those_to_come_when_it_is_resumed(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"), 2)
    session = make()
    one, two = session.next_trial(), session.next_trial()
    train(session, two, 1)
    ask(store, two.trial_id, "pause")
    train(session, two, 2)
    ask(store, search_id, "stop")
    assert train(session, one, 1)
    assert session.done
    assert session.close() == store.search(search_id).status == "stopped"
    assert [(row.status, row.cause) for row in store.trials(search_id)] == [("stopped", "asked")] * 2
    assert violations(store, search_id) == []
    assert run(make).close() == "ended"
    assert states(store, search_id) == ["stopped", "stopped", "finished", "finished"]


def test_resume_overrules_what_a_killed_driver_had_been_asked(store, begin):
    search_id, make = begin(RANDOM)
    make().next_trial()
    ask(store, search_id, "stop")
    assert make().next_trial().number == 1
    assert still_open(store, search_id) == []


def test_a_search_of_which_only_paused_trials_are_left_is_paused(store, begin):
    search_id, make = begin(replace(RANDOM, trials=1))
    session = make()
    one = session.next_trial()
    assert not session.done  # it might be paused, and asked for again
    ask(store, one.trial_id, "pause")
    train(session, one, 1)
    assert session.next_trial() is None
    assert session.done
    assert session.close() == "paused"
    assert make().done
    assert "has no driver" in ask(store, one.trial_id, "resume")
    assert run(make).close() == "ended"
    assert [(row.status, row.epochs) for row in store.trials(search_id)] == [("finished", 9)]
    assert violations(store, search_id) == []


def test_an_audit_names_a_trial_that_nobody_asked_to_stop(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()
    ask(store, one.trial_id, "stop")
    train(session, one, 1)
    two = session.next_trial()
    train(session, two, 1)
    store.update_trial(two.trial_id, status="stopped", cause="asked", ended=store.trial(one.trial_id).ended)
    assert violations(store, search_id) == [f"{two.trial_id} is stopped as asked, but nobody asked"]


def test_pointless_requests_are_refused_in_a_sentence(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()
    for name, request, said in (
        (one.trial_id, "stopp", "Unknown request 'stopp'; did you mean 'stop'?"),
        ("toy-9", "stop", f"Unknown search or trial 'toy-9'; did you mean '{search_id}'?"),
        (f"{search_id}.7", "stop", f"Unknown trial '{search_id}.7'; did you mean '{one.trial_id}'?"),
        (one.trial_id, "resume", f"{one.trial_id} is running, not paused, so there is nothing to resume."),
        (search_id, "resume", f"{search_id} is running already; name one of its trials."),
        (store.create_search("import", "?", {}, {}), "stop",
         "import-1 was not made by search.run, so nothing drives it that could stop."),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            ask(store, name, request)
        assert str(refused.value) == said
    ask(store, one.trial_id, "pause")
    train(session, one, 1)
    with pytest.raises(InputError, match="is paused already; it goes on with"):
        ask(store, one.trial_id, "pause")
    ask(store, one.trial_id, "stop")
    session.heed()
    with pytest.raises(InputError, match=r"has ended \(stopped\), so there is nothing to resume"):
        ask(store, one.trial_id, "resume")
    session.close()
    for request, said in (("pause", "is interrupted, so there is nothing to pause"), ("resume", "--resume toy-1")):
        with pytest.raises(InputError, match=said):
            ask(store, search_id, request)
    assert [row.request for row in store.requests(search_id)] == ["pause", "stop"]


def test_a_stop_of_a_whole_search_says_that_it_is_final_and_what_is_not(store, begin):
    search_id, make = begin(replace(RANDOM, scheduler="none"))
    make().next_trial()
    assert ask(store, search_id, "pause") == f"{search_id} will pause when its running trials have ended their epoch."
    assert ask(store, search_id, "stop").endswith(" Stopped trials do not go on; pause is for what shall.")


def test_the_command_asks_from_another_process_and_exits_with_2_after_bad_input(store, begin, tmp_path):
    _, make = begin(replace(RANDOM, scheduler="none"))
    session = make()
    one = session.next_trial()

    def control(*arguments):
        command = [sys.executable, "-m", "search.control", *arguments, "--storage", f"sqlite:///{tmp_path}/arbor.db"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    said = f"{one.trial_id} will stop at the end of its epoch.\n"
    assert control(one.trial_id, "stop") == (0, said, "")
    assert train(session, one, 1)
    sentence = f"Error: {one.trial_id} has ended (stopped), so there is nothing to stop.\n"
    assert control(one.trial_id, "stop") == (2, "", sentence)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_real_search_pauses_a_trial_and_then_itself_and_goes_on(place):
    search = place.start("search.run", "pairs.py", "--concurrency", "1")
    search.wait_for(r"pairs-1\.1 .*epoch 3/40")
    assert place.run("search.control", "pairs-1.1", "pause") == "pairs-1.1 will pause at the end of its epoch.\n"
    search.wait_for(r"pairs-1\.1: paused as asked, after epoch \d+")
    search.wait_for(r"pairs-1\.2 .*epoch 3/40")
    with place.store() as opened:
        assert opened.trial("pairs-1.1").status == "paused"
        assert (Path(opened.trial("pairs-1.1").provenance["folder"]) / "last.pt").exists()
        assert opened.search("pairs-1").heartbeat > opened.search("pairs-1").created
    place.run("search.control", "pairs-1.1", "resume")
    search.wait_for(r"pairs-1\.1: goes on as asked")
    place.run("search.control", "pairs-1", "pause")
    assert search.finish() == 0, search.output
    assert "Paused as asked. Go on with" in search.output
    with place.store() as opened:
        assert opened.search("pairs-1").status == "paused"
        assert [row.status for row in opened.trials("pairs-1")] == ["interrupted", "interrupted"]
    place.run("search.run", "--resume", "pairs-1")
    with place.store() as opened:
        assert [(row.status, row.epochs) for row in opened.trials("pairs-1")] == [("finished", 40)] * 2
    assert "is a valid history" in place.run("results.audit", "pairs-1")
    assert "Verdict: identical" in place.run("trainer.replay", "pairs-1.1")
    place.wait_until_gone(60)
