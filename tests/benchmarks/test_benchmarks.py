"""The benchmarks work; how fast things are is not asked here."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from arch_space.registry import FFN
from benchmarks.__main__ import app
from benchmarks.driver import time_driver
from benchmarks.picture import COLOURS, draw_profile
from benchmarks.suite import PARTS, SUITE, profile, start, timed

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


def test_a_profile_is_drawn_with_every_part_that_it_has(tmp_path):
    rows = [{"what": part, "epoch_seconds": 0.01 * (n + 1)} for n, part in enumerate(PARTS)]
    draw_profile(rows, tmp_path / "time.png", "Where it goes")
    with Image.open(tmp_path / "time.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(10**6)}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in COLOURS} <= colours


def test_a_picture_of_anything_but_a_profile_is_refused():
    error = CliRunner().invoke(app, ["kinds", "--picture", "time.png"]).exception
    assert "add profile" in str(error)


@pytest.mark.slow
def test_batches_alone_are_timed():
    assert timed("loader", {}, 1)["images_per_second"] > 0


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
    assert [row["what"] for row in rows][:3] == ["mlp hidden=256", "fff depth=7", "pair mlp hidden=256"]
    assert all(row["epoch_seconds"] > 0 for row in rows)
    timed_kinds = " ".join(row["what"] for row in rows)
    assert all(kind in timed_kinds for kind in FFN.kinds())


def test_the_driver_is_timed_over_a_whole_search():
    figures = time_driver(30, "tpe")
    assert figures["trials"] == 30
    assert 30 <= figures["reports"] <= 30 * 27
    assert 0 < figures["report_ms"] * figures["reports"] / 1000 < figures["seconds"]
    assert figures["ask_ms"] > 0
    assert figures["memory_bytes"] > 0
    assert {"bytes_per_trial", "bytes_per_late_trial"} <= figures.keys()
