"""Experiments that time and train nothing: run, listed, shown, previewed, and what is refused."""

import csv
import json
import sys

import pytest
from typer.testing import CliRunner

from results.cli import run
from results.errors import InputError
from results.store import Store
from search import catalog
from search.experiment import Experiment
from search.run import app
from search.timing import Timing

MINE = '''\
from search.timing import Timing


def mine() -> Timing:
    """Which of two is slower?"""
    return Timing(rows=rows, x="size", y="seconds", line=("name",), quartiles=("low", "high"), settings={"sides": 2},
                  about="Nothing is really timed.")


def rows():
    for size in (1, 2, 3):
        for name in ("a", "b"):
            yield {"name": name, "size": size, "seconds": 0.5 * size, "low": 0.4 * size, "high": 0.6 * size}
'''
FIT = {"x": "size", "y": "seconds", "line": ("name",)}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "mine.py").write_text(MINE)
    return "mine.py"


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def with_rows(text):
    return MINE.replace(MINE[MINE.index("def rows") :], "def rows():\n" + text)


def test_it_is_timed_and_leaves_rows_picture_and_provenance_but_no_search(mine, tmp_path):
    said = invoke(mine).output
    assert "Which of two is slower?" in said
    assert "6 rows in" in said
    assert "Picture: runs/mine-1/picture.png" in said
    folder = tmp_path / "runs" / "mine-1"
    assert {path.name for path in folder.iterdir()} == {"rows.csv", "picture.png", "about.json"}
    with (folder / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["size"], float(row["seconds"])) for row in rows] == [
        (name, str(size), 0.5 * size) for size in (1, 2, 3) for name in ("a", "b")
    ]
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    about = json.loads((folder / "about.json").read_text())
    assert about["settings"] == {"sides": 2}
    assert about["provenance"]["versions"]["torch"]
    with Store.open("sqlite:///runs/arbor.db", create=False) as store:
        assert store.searches() == []


def test_a_second_run_gets_a_folder_of_its_own_and_so_does_one_beside_a_search_of_that_name(mine, tmp_path):
    with Store.open("sqlite:///runs/arbor.db") as store:
        assert store.create_search("mine", "?", {}, {}) == "mine-1"
    invoke(mine)
    invoke(mine)
    assert {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()} == {"mine-2", "mine-3"}


def test_a_preview_says_that_nothing_is_trained_and_times_nothing(mine, tmp_path):
    (tmp_path / "mine.py").write_text(with_rows("    raise ArithmeticError\n"))
    said = invoke(mine, "--preview").output
    assert "Which of two is slower?" in said
    assert "times and trains nothing: no trials, no epochs, nothing in the store" in said
    assert not (tmp_path / "runs").exists()


def test_select_cpu_is_listed_with_its_question_and_shown(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    timing = catalog.find("select_cpu")
    assert isinstance(timing, Timing)
    assert timing.question.endswith("?")
    assert timing.question in invoke("--list").output
    shown = invoke("--show", "select_cpu").output
    assert timing.question in shown
    assert "trains nothing" in shown


def test_what_needs_trials_does_not_take_a_timing():
    with pytest.raises(InputError, match="'select_cpu' times and trains nothing, so it has no trials"):
        catalog.load("select_cpu")
    assert isinstance(catalog.find("quickstart"), Experiment)


@pytest.mark.parametrize(
    "option",
    ["--trials 3", "--epochs 3", "--grace 1", "--reduction 2", "--pooled-rungs", "--seed 1", "--seeds 2",
     "--sampler tpe", "--concurrency 1", "--gpus-per-trial 0", "--cpus-per-trial 1", "--set lr=1e-3",
     "--time-budget 1h", "--gpu-hours 1", "--note x", "--tag x", "--variants mine.py"],
)  # fmt: skip
def test_options_of_trials_are_refused_with_exit_code_2(mine, tmp_path, monkeypatch, capsys, option):
    (tmp_path / "kinds").mkdir()
    argument = option.replace("mine.py", "kinds").split()
    monkeypatch.setattr(sys, "argv", ["search.run", mine, *argument])
    with pytest.raises(SystemExit) as ended:
        run(app, "python -m search.run")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"'mine' times and trains nothing, so {argument[0]} does not apply" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_run_of_a_timing_cannot_be_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="'select_cpu' times and trains nothing, so --resume does not apply"):
        invoke("--resume", "select_cpu-1")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("    yield from ()\n", "must give at least one row, but gave none"),
        ("    yield {'name': 'a', 'size': 1}\n", "must have the columns size, seconds, name, low, high, but got name"),
        ("    yield {'name': 'a', 'size': 1, 'seconds': 0.0, 'low': 1, 'high': 1}\n", "above 0, but got 0.0"),
        ("    yield {'name': 'a', 'size': 1, 'seconds': float('nan'), 'low': 1, 'high': 1}\n", "above 0, but got nan"),
        ("    yield {'name': 'a', 'size': 1, 'seconds': '1', 'low': 1, 'high': 1}\n", "above 0, but got '1'"),
        ("    yield {'name': 'a', 'size': 'x', 'seconds': 1.0, 'low': 1, 'high': 1}\n", '"size" of mine must be'),
        (
            "    yield (r := {'name': 'a', 'size': 1, 'seconds': 1.0, 'low': 1, 'high': 1})\n    yield r | {'more': 2}\n",
            "but got name, size, seconds, low, high, more",
        ),
        ("    yield 1 / 0\n", r"broke off after 0 rows: ZeroDivisionError: division by zero \(mine.py, line \d+\)"),
    ],
)
def test_rows_that_cannot_be_shown_are_refused_with_a_sentence(mine, tmp_path, text, sentence):
    (tmp_path / "mine.py").write_text(with_rows(text))
    with pytest.raises(InputError, match=sentence):
        invoke(mine)


def test_rows_that_came_before_a_failure_or_ctrl_c_are_kept(mine, tmp_path):
    row = "    yield {'name': 'a', 'size': 1, 'seconds': 1.0, 'low': 1, 'high': 1}\n"
    (tmp_path / "mine.py").write_text(with_rows(row + "    raise MemoryError('too deep')\n"))
    with pytest.raises(InputError, match="broke off after 1 rows: MemoryError: too deep"):
        invoke(mine)
    (tmp_path / "mine.py").write_text(with_rows(row + "    raise KeyboardInterrupt\n"))
    ended = invoke(mine)
    assert ended.exit_code == 130
    assert "Interrupted after 1 rows" in ended.output
    for number in (1, 2):
        assert (tmp_path / f"runs/mine-{number}/rows.csv").read_text().splitlines()[1:] == ["a,1,1.0,1,1"]


def test_a_storage_that_cannot_be_used_is_refused(mine):
    with pytest.raises(InputError, match="does not exist"):
        invoke(mine, "--storage", "sqlite:///no/such/arbor.db")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"line": ()}, "but got none"), ({"x": "seconds"}, "must differ from one another, but got seconds, seconds")],
)
def test_a_timing_without_lines_or_with_a_column_named_twice_is_refused(wrong, sentence):
    with pytest.raises(InputError, match=sentence):
        Timing(**{"rows": lambda: iter(()), **FIT, **wrong})
