"""`results.watch`: a search seen from the store alone, on a terminal and in a pipe."""

import io
import os
import platform
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from results import watch
from results.errors import InputError
from results.rows import DecisionRow
from results.store import Store
from results.watch_frame import ASCII, BLOCKS, Frame, changes, sparkline
from results.watched import best, latest, read, rest, variant_words

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

SPEED = 10.0
"""Images a second of every epoch of `recorded.trial`, which takes a second, too."""


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def shown(watched, width=120):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(Frame(watched))
    return console.file.getvalue()


def start(store, *arguments, **popen):
    command = [sys.executable, "-m", "results.watch", "--storage", store.url, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen)


def wait_for_line(process):
    """The first line of a watch in a pipe: from then on it looks again and again."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return line


def test_a_frame_shows_progress_running_trials_the_best_and_the_last_decisions(store):
    name = search(store, rungs=(1,), trials=10, concurrency=2, epochs=3)
    trial(store, name, [0.5, 0.6, 0.75], hidden=8)
    trial(store, name, [0.3], status="stopped", hidden=16)
    trial(store, name, [0.4, 0.7], status="running", hidden=32)
    store.update_search(name, provenance={"hostname": "box"})
    text = shown(read(store, name))
    assert "toy-1  running  driver on box alive" in text
    assert "Which is best?" in text
    assert "2/10 trials" in text
    assert "1 finished, 1 running, 1 stopped, 7 to come" in text
    assert "best so far 75.00 %  toy-1.1  mlp hidden=8" in text
    (row,) = [line for line in text.splitlines() if line.split()[:1] == ["toy-1.3"]]
    assert row.split() == ["toy-1.3", "mlp", "hidden=32", "2/3", "70.00", f"{SPEED:.0f}", "▁█"]
    assert "toy-1.2 epoch 1: stop, 30.00 % below 100.00 % (asha)" in text


def test_the_best_is_one_that_ran_to_its_end_though_another_is_higher_on_its_way(store):
    name = search(store)
    trial(store, name, [0.9, 0.95], status="running", hidden=4)
    first = read(store, name)
    assert best(first.trials).id == "toy-1.1"
    assert "best so far 95.00 %  toy-1.1  mlp lr=0.001, at epoch 2 of 3; none has run to its end" in shown(first)
    trial(store, name, [0.5, 0.6, 0.7], hidden=8)
    assert best(read(store, name).trials).id == "toy-1.2"


def test_before_any_trial_has_run_to_its_end_the_best_is_among_those_that_passed_most_rungs(store):
    name = search(store, rungs=(1, 2))
    trial(store, name, [0.9], status="stopped", hidden=4)
    trial(store, name, [0.2, 0.4], status="stopped", hidden=8)
    trial(store, name, [0.3, 0.5], status="running", hidden=16)
    assert "best so far 50.00 %  toy-1.3" in shown(read(store, name))


def test_the_rest_is_what_the_ended_ones_took_and_what_the_running_ones_have_before_them(store):
    """Ended: 3, 3 and 1 epochs of a second. Running: one after 1 epoch, with 2 before it as the two that got further had."""
    name = search(store, trials=8, concurrency=2, epochs=3)
    for accuracies, status in (([0.5, 0.6, 0.7], "finished"), ([0.5, 0.6, 0.7], "finished"), ([0.1], "stopped")):
        trial(store, name, accuracies, status=status)
    trial(store, name, [0.4], status="running")
    found = rest(read(store, name))
    mean, spread = 7 / 3, 4 / 3  # of 3, 3, 1
    expected = 4 * mean + 2
    deviation = (spread * 5 + spread * 25 / 3) ** 0.5
    assert found.slots == 2
    assert found.ended == 3
    assert not found.at_most
    assert found.seconds == pytest.approx(expected / 2)
    assert found.low == pytest.approx((expected - 2 * deviation) / 2)
    assert found.high == pytest.approx((expected + 2 * deviation) / 2)


def test_before_some_have_ended_the_rest_of_a_search_is_an_upper_bound_and_of_a_comparison_a_guess(store):
    halving = search(store, trials=4, concurrency=2, epochs=3)
    trial(store, halving, [0.4], status="running")
    found = rest(read(store, halving))
    assert (found.seconds, found.at_most) == (pytest.approx((2 + 3 * 3) / 2), True)
    assert "at most 0:06 left, if no trial is stopped (2 at once; 0 have ended)" in shown(read(store, halving))
    grid = search(store, grid=True, seeds=(0, 1), concurrency=1, epochs=3)
    trial(store, grid, [0.4], status="running")
    assert "about 0:05 left, if every epoch takes what those so far took (1 at once)" in shown(read(store, grid))
    untried = search(store, trials=4, concurrency=2, epochs=3)
    assert rest(read(store, untried)) is None
    assert "no estimate before the first epoch" in shown(read(store, untried))


def test_a_silent_driver_is_told_with_the_way_on_and_without_an_estimate(store):
    name = search(store, trials=4, epochs=3)
    trial(store, name, [0.4], status="running")
    store.update_search(name, heartbeat=datetime.now(UTC) - timedelta(minutes=10))
    text = shown(read(store, name))
    assert "has given no sign of life for 10:0" in text
    assert "no estimate without a driver" in text
    assert "go on with: python -m search.run --resume toy-1" in text


def test_a_driver_of_this_host_that_has_ended_is_told_at_once(store):
    name = search(store, trials=4, epochs=3)
    trial(store, name, [0.4], status="running")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as driver:
        started = psutil.Process(driver.pid).create_time()
        of_driver = {"hostname": platform.node(), "driver_pid": driver.pid, "driver_started": started}
        store.update_search(name, heartbeat=datetime.now(UTC), provenance=of_driver)
        assert "alive 0 s ago" in shown(read(store, name))
        driver.kill()
    text = shown(read(store, name))
    assert f"is gone (process {driver.pid} has ended)" in text
    assert "no estimate without a driver" in text
    assert "go on with: python -m search.run --resume toy-1" in text
    store.update_search(name, provenance={**of_driver, "hostname": "elsewhere"})
    assert "on elsewhere alive 0 s ago" in shown(read(store, name))


def test_text_of_the_store_moves_no_cursor_and_is_no_markup(store):
    name = store.create_search(
        "toy",
        "[red]Which\x1b[2J\x07 is\r\n best?[/red]",
        {"grid": None, "trials": 2, "epochs": 3},
        {"hostname": "\x1b]0;x\x07"},
    )
    trial(store, name, [0.5], status="running", note="[bold]\x1b[31mwords")
    trial(store, name, [0.5], status="running", note="other")
    store.commit_report(
        "toy-1.1", None,
        DecisionRow(trial_id="toy-1.1", epoch=1, scheduler="\x1b[5m[/]", rung=1, value=0.5, cutoff=0.5, decision="continue"),
    )  # fmt: skip
    watched = read(store, name)
    text = shown(watched, width=200)
    assert "[red]Which[2J is best?[/red]" in text
    assert "note=[bold][31mwords" in text
    lines = [*changes(None, watched), *changes(watched, watched)]
    for part in (text, *lines):
        assert not any(ord(character) < 32 and character != "\n" for character in part)


def test_variants_are_told_by_what_differs_among_the_trials(store):
    name = search(store, seeds=(0, 1))
    trial(store, name, [0.5], hidden=8, batch_size=64)
    trial(store, name, [0.5], hidden=16, batch_size=64, seed=1)
    trial(store, name, [0.5], ffn="glu", hidden=16)
    trials = store.trials(name)
    assert variant_words(trials[1], trials) == "mlp hidden=16 seed=1"
    assert variant_words(trials[0], trials[:1]) == "mlp lr=0.001"
    tuning = replace(trials[1], provenance={"lr_tuning": 1e-3}, val_acc=0.99, status="finished")
    assert variant_words(tuning, trials) == "mlp hidden=16 (tunes its learning rate)"
    assert best([tuning]) == tuning
    counts = replace(trials[0], val_acc=0.5, status="finished")
    assert best([tuning, counts]) == counts


def test_a_curve_in_characters_keeps_its_gaps_and_its_last_epochs():
    assert sparkline([0.0, None, 0.5, 1.0], 0.0, 1.0) == f"{BLOCKS[0]} {BLOCKS[4]}{BLOCKS[7]}"
    assert sparkline([0.25, 0.25], 0.25, 0.25, ASCII) == ASCII[3] * 2
    assert sparkline([0.0] * 100 + [1.0], 0.0, 1.0)[-2:] == f"{BLOCKS[0]}{BLOCKS[7]}"
    assert len(sparkline([0.0] * 100, 0.0, 1.0)) == 24


def test_a_pipe_gets_a_line_for_each_change(store):
    name = search(store, trials=4, epochs=3)
    trial(store, name, [0.4], status="running")
    before = read(store, name)
    (first,) = changes(None, before)
    assert "toy-1: running; driver alive" in first
    assert "0/4 trials have ended (1 running)" in first
    assert list(changes(before, read(store, name))) == []
    trial(store, name, [0.3], status="stopped", hidden=16)
    lines = [line.partition("] ")[2] for line in changes(before, read(store, name))]
    assert lines[:2] == ["toy-1.2 mlp hidden=16  epoch 1/3  val 30.00 %  stopped",
                         "toy-1.2 epoch 1: stop, 30.00 % below 100.00 % (asha)"]  # fmt: skip
    assert lines[2].startswith("toy-1: 1/4 trials have ended (1 running, 1 stopped); best so far 40.00 %")
    assert len(lines) == 3


def test_the_latest_search_is_meant_unless_it_is_archived(store):
    with pytest.raises(InputError, match="no search yet"):
        latest(store)
    first, second = search(store), search(store)
    assert latest(store) == second
    store.update_search(second, tags=["archived"])
    assert latest(store) == first


def test_a_watch_ends_with_the_search(store):
    name = search(store, trials=2, epochs=3)
    process = start(store, name, "--seconds", "0.1")
    assert "toy-1: running" in wait_for_line(process)
    trial(store, name, [0.4, 0.5, 0.6])
    store.update_search(name, status="ended")
    out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert "toy-1: ended; 1/1 trials have ended (1 finished); best so far 60.00 %  toy-1.1" in out


def test_ctrl_c_leaves_quietly(store):
    process = start(store, search(store, trials=2, epochs=3), "--seconds", "0.1")
    wait_for_line(process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out + error == ""


def test_in_a_terminal_the_frame_is_drawn_anew_and_the_last_one_stays(store):
    name = search(store, trials=2, epochs=3)
    trial(store, name, [0.25], status="running")
    reader, terminal = pty.openpty()
    command = [sys.executable, "-m", "results.watch", name, "--storage", store.url, "--seconds", "0.1"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        seen = b""
        while b"25.00" not in seen:
            seen += os.read(reader, 65536)
        trial(store, name, [0.4, 0.5, 0.625], hidden=16)
        store.update_search(name, status="ended")
        while True:
            try:
                seen += os.read(reader, 65536)
            except OSError:  # the other end is closed
                break
        assert process.wait(60) == 0
    os.close(reader)
    text = seen.decode()
    assert "\x1b[1A" in text  # up, to draw over the frame before
    assert "62.50 %" in text.rpartition("\x1b[1A")[2]
    assert "Traceback" not in text


def test_bad_input_is_a_sentence(store):
    search(store)
    for arguments, sentence in (
        (["toy-7"], "Unknown search 'toy-7'; did you mean 'toy-1'?"),
        (["--seconds", "nan"], '"--seconds" must be from 0.1 to 86400, but got nan.'),
    ):
        result = CliRunner().invoke(watch.app, [*arguments, "--storage", store.url])
        assert isinstance(result.exception, InputError)
        assert str(result.exception) == sentence


def test_a_watch_outlives_a_restart_of_its_database(postgres_server):
    with Store.open(postgres_server.url) as store:
        name = search(store, trials=2, epochs=3)
        process = start(store, name, "--seconds", "0.1")
        wait_for_line(process)
        postgres_server.stop("immediate")
        try:
            line = process.stderr.readline()
        finally:
            postgres_server.start()
        assert "is gone" in line
        store.update_search(name, status="ended")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "is back after" in error
    assert f"{name}: ended" in out


def test_once_prints_one_frame_and_ends_though_the_search_runs(store):
    search(store, trials=2, epochs=3)
    result = CliRunner().invoke(watch.app, ["--once", "--seconds", "86400", "--storage", store.url])
    assert result.exit_code == 0
    assert result.output.count("Which is best?") == 1
