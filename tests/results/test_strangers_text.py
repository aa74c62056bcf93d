"""Text that a stranger may have put into a shared database, shown by every command that reads one: it stays text.

Not a control character reaches the terminal, no markup is taken for ours, no cell of a CSV is a formula, no number is read
from a pickle.
"""

import ast
import csv
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from results import audit, clean, compare, plot, show
from results.cli import run
from results.errors import InputError
from results.images import predictions_of

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTILE = "=HYPERLINK(9)\x1b]0;owned\x07\x1b[2J\x9b31m[red]x[/red][/]<script>\r\n@SUM(1)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every column of text that the tables have says something hostile."""
    path = tmp_path_factory.mktemp("store")
    with new_store(path) as store:
        for grid in (True, False):
            name = search(store, grid=grid, rungs=() if grid else (1,), data=HOSTILE, sampler=HOSTILE)
            store.update_search(
                name, status="interrupted", notes=HOSTILE, tags=[HOSTILE, "t"], provenance={"hostname": HOSTILE}
            )
            for number, augment in enumerate((HOSTILE, "none")):
                poison = {"augment": augment, HOSTILE: HOSTILE, "select": f"{HOSTILE}{number}", "ffn.mlp.kind": HOSTILE}
                trial(store, name, [0.3, 0.4], hidden=8 + number, test_acc=0.3, **poison)
            failed = trial(store, name, [0.2], status="failed", hidden=12, optimizer=HOSTILE)
            store.update_trial(failed, cause=HOSTILE, provenance={"gpu": HOSTILE, "folder": HOSTILE})
    return path


READERS = [
    (show.app, "toy-1"), (show.app, "toy-2 --all"), (show.app, "toy-1 toy-2 --mix"), (show.app, "--list"),
    (show.app, "toy-9"), (show.app, "--tag nobody"), (compare.app, "toy-1.1 toy-1.2"), (compare.app, "toy-1.1 toy-2.2"),
    (audit.app, "toy-2"), (clean.app, ""), (clean.app, "--keep-best 1 --search toy-2"), (plot.app, "toy-2 --list"),
]  # fmt: skip


@pytest.mark.parametrize(("app", "arguments"), READERS)
def test_a_reader_prints_it_as_text(folder, monkeypatch, capfd, app, arguments):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["reader", *arguments.split(), "--storage", f"sqlite:///{folder}/arbor.db"])
    with pytest.raises(SystemExit):
        run(app, "reader")
    said = "".join(capfd.readouterr())
    assert said.strip()
    assert not [character for character in said if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize("option", ["--csv", "--markdown", "--latex"])
def test_an_export_holds_it_as_text(folder, tmp_path, option):
    path = tmp_path / "table"
    storage = ["--storage", f"sqlite:///{folder}/arbor.db"]
    done = CliRunner().invoke(show.app, ["toy-1", option, str(path), *storage])
    assert done.exit_code == 0, done.output
    content = path.read_bytes().decode()
    if option == "--csv":
        rows = list(csv.reader(io.StringIO(content)))
        cells = [cell for row in rows for cell in row]
        assert "'=HYPERLINK(9)" in content
        assert not [cell for cell in cells if cell.lstrip()[:1] in ("=", "@")]
        assert not [cell for cell in cells if cell.lstrip()[:1] in ("+", "-") and not _is_number(cell)]
    elif option == "--markdown":
        assert "\\<script\\>" in content
        assert "<script>" not in content.replace("\\<script\\>", "")
    assert not [character for character in content if ord(character) < 32 and character not in "\r\n"]


def _is_number(text):
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def test_a_file_of_predictions_that_holds_a_pickle_is_refused_unread(tmp_path):
    class Runs:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    np.savez(tmp_path / "predictions.npz", val=np.array([Runs()], dtype=object), test=np.zeros(3))
    row = pd.Series({"id": "toy-1.1", "provenance": {"folder": str(tmp_path)}})
    with pytest.raises(InputError, match="are damaged"):
        predictions_of(row, "val")
    assert not (tmp_path / "ran").exists()


def test_nothing_of_ours_unpickles_evaluates_or_loads_yaml_that_could_build_objects():
    """Every call in the packages that could run what a file says, by its syntax tree; what is listed here was looked at."""
    allowed = {
        ("trainer/checkpoint.py", "torch.load"): "weights_only=True",
        ("results/images.py", "np.load"): "allow_pickle=False",
    }
    suspicious = {
        "torch.load", "np.load", "numpy.load", "pickle.load", "pickle.loads", "cloudpickle.load", "cloudpickle.loads",
        "joblib.load", "pd.read_pickle", "yaml.load", "yaml.unsafe_load", "eval", "exec", "marshal.loads", "shelve.open",
        "Tuner.restore", "tune.Tuner.restore", "ExperimentAnalysis",
    }  # fmt: skip
    found = {}
    for package in ("arch_space", "benchmarks", "experiments", "results", "search", "trainer"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in suspicious:
                    found[str(path.relative_to(REPOSITORY)), ast.unparse(node.func)] = ast.unparse(node)
    assert found.keys() == allowed.keys()
    for place, argument in allowed.items():
        assert argument in found[place]
