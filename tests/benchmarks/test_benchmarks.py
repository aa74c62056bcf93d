"""The benchmarks work; how fast things are is not asked here."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.driver import time_driver
from benchmarks.suite import SUITE, profile, start, timed

pytestmark = pytest.mark.usefixtures("digits")
KEYS = {"epoch_seconds", "train_seconds", "images_per_second"}


def test_without_a_name_they_are_listed():
    said = CliRunner().invoke(app, []).output
    assert all(name in said for name in SUITE)


def test_an_unknown_name_is_refused():
    error = CliRunner().invoke(app, ["epch"]).exception
    assert "Unknown benchmark 'epch'" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["trial", "constant", "engine", "bare", "bare_no_graph", "seed_style"])
def test_every_mode_gives_figures(mode):
    figures = timed(mode, {}, 1)
    assert figures.keys() >= KEYS
    assert all(figures[key] > 0 for key in KEYS)


@pytest.mark.slow
def test_the_parts_of_an_epoch_add_up_to_the_whole():
    rows = {row["what"]: row["epoch_seconds"] for row in profile({"optimizer": "muon"}, 1)}
    assert all(rows[phase] > 0 for phase in ("forward", "backward", "update", "evaluation"))
    rest = rows["reports and checkpoints"] + rows["waiting for batches"] + rows["evaluation"]
    assert rest < rows["whole epoch"]


@pytest.mark.slow
def test_starts_are_timed():
    rows = {row["what"]: row["seconds"] for row in start({}, 1)}
    assert len(rows) == 6
    assert all(seconds > 0 for seconds in rows.values())


@pytest.mark.slow
def test_the_json_is_what_the_table_says(tmp_path):
    file = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["kinds", "--epochs", "1", "--json", str(file)])
    assert done.exit_code == 0, done.output
    rows = json.loads(file.read_text())["kinds"]
    assert [row["what"] for row in rows] == ["mlp hidden=256", "fff depth=7", "pair mlp hidden=256"]


def test_the_driver_is_timed_over_a_whole_search():
    figures = time_driver(30, "tpe")
    assert figures["trials"] == 30
    assert 30 <= figures["reports"] <= 30 * 27
    assert 0 < figures["report_ms"] * figures["reports"] / 1000 < figures["seconds"]
    assert figures["ask_ms"] > 0
    assert figures["memory_bytes"] > 0
