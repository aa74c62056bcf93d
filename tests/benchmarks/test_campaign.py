"""A campaign's steps are commands that exist; one that fails or outlasts its limit costs its own step alone."""

import json
import shlex

import psutil
import pytest
from typer.testing import CliRunner

from benchmarks.campaign import STEPS, Step, app, run_step
from benchmarks.suite import SUITE
from results.errors import InputError
from search import catalog


def test_every_step_is_of_benchmarks_and_experiments_that_exist():
    words = [shlex.split(command) for step in STEPS.values() for command in step.commands]
    assert {module for module, *_ in words} == {"pytest", "benchmarks", "benchmarks.faults", "search.run"}
    assert {rest[0] for module, *rest in words if module == "benchmarks"} <= set(SUITE)
    for experiment in {rest[0] for module, *rest in words if module == "search.run"} - {"--confirm"}:
        assert catalog.load(experiment).question


def test_a_command_that_fails_ends_its_step_and_what_it_said_is_kept(tmp_path):
    step = Step(what="x", seconds=60, commands=("results.show --help", "benchmarks nothing", "results.show --help"))
    ran = [(command, code) for command, code, _ in run_step("x", step, tmp_path)]
    assert ran == [("results.show --help", 0), ("benchmarks nothing", 2)]
    log = (tmp_path / "x.log").read_text()
    assert "$ python -m benchmarks nothing\n" in log
    assert "'nothing'" in log
    assert "(exit code 2 after" in log


def test_a_command_that_outlasts_its_limit_is_ended(tmp_path):
    before = set(psutil.Process().children())
    step = Step(what="x", seconds=1, commands=("http.server 0", "results.show --help"))
    assert [code for _, code, _ in run_step("x", step, tmp_path)] == [None]
    assert "(over its limit after" in (tmp_path / "x.log").read_text()
    assert set(psutil.Process().children()) == before


def test_the_steps_are_listed_and_what_commands_took_is_kept(tmp_path, monkeypatch):
    assert "where an epoch's time goes" in CliRunner().invoke(app, [str(tmp_path)]).output
    monkeypatch.setitem(STEPS, "help", Step(what="a short one", seconds=60, commands=("results.show --help",)))
    said = CliRunner().invoke(app, [str(tmp_path / "new"), "help", "help"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "help: a short one" in said.output
    kept = json.loads((tmp_path / "new" / "seconds.json").read_text())
    assert [(each["step"], each["code"]) for each in kept] == [("help", 0)] * 2
    with pytest.raises(InputError, match="no step 'epochs'"):
        CliRunner().invoke(app, [str(tmp_path), "epochs"], catch_exceptions=False)
