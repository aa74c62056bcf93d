"""The notebooks: kept twice, as text and as notebook without outputs, and executed on a search that was really run."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "results" / "notebooks").glob("*.py"))
NAMES = ["01_first_search", "02_compare_variants", "03_fff_study", "04_asha_whatif"]
TINY = {"data": "digits", "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1, "epochs": 4}
EXPERIMENTS = f'''\
from search.experiment import Experiment
from search.space import suggest_ffn


def sampled() -> Experiment:
    """Which of some tiny models reads digits best?"""
    return Experiment(
        base={TINY}, space=space, trials=10, grace=1, reduction=2, threads=1,
        ranges={{"ffn.mlp.hidden": (8, 64), "ffn.fff.depth": (1, 3), "ffn.fff.trees": (1, 2)}},
    )


def space(scope):
    return {{**suggest_ffn(scope, ("mlp", "fff")), "lr": scope.float("lr", 1e-3, 1e-2, log=True)}}
'''
COMPARISON = f'''\
from search.experiment import Experiment


def compared() -> Experiment:
    """Do three tiny models differ?"""
    dense = [{{"ffn": "mlp", "ffn.mlp.hidden": hidden}} for hidden in (8, 64)]
    grid = [*dense, {{"ffn": "fff", "ffn.fff.depth": 2}}]
    return Experiment(base={{**{TINY}, "lr": 5e-3}}, grid=grid, seeds=(0, 1, 2), threads=1)
'''


@pytest.fixture(scope="session")
def recorded_storage(tmp_path_factory, digits):
    """The URL of a store with a search and a comparison, both by `search.run`, one beside the other."""
    folder = tmp_path_factory.mktemp("recorded")
    storage = f"sqlite:///{folder}/arbor.db"
    running = []
    for name, text in (("sampled", EXPERIMENTS), ("compared", COMPARISON)):
        (folder / f"{name}.py").write_text(text)
        command = [sys.executable, "-m", "search.run", f"{name}.py", "--no-dashboard", "--storage", storage]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        running.append(
            subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
    for process in running:
        printed = process.communicate(timeout=250)[0]
        assert process.returncode == 0, printed.decode()
    return storage


@pytest.fixture(scope="module")
def rendering():
    """docs/render_notebooks.py, which is a script and no package."""
    spec = importlib.util.spec_from_file_location("render_notebooks", REPOSITORY / "docs" / "render_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_four_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_text_and_notebook_agree_and_no_output_is_kept(source):
    """To mend a failure: `jupytext --to ipynb results/notebooks/NAME.py`."""
    text, notebook = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_recorded_search_without_torch_or_ray(
    source, recorded_storage, rendering, tmp_path, monkeypatch
):
    for name in ("ARBOR_STORAGE", "PYTHONPATH"):  # which executing sets
        monkeypatch.setenv(name, os.environ.get(name, ""))
    probe = tmp_path / source.name
    probe.write_text(
        source.read_text()
        + "\n# %%\nimport sys\nprint('heavy:', sorted({'torch', 'ray', 'optuna'} & set(sys.modules)))\n"
    )
    notebook = rendering.executed(probe, recorded_storage)
    rendering.write_markdown(notebook, source.stem, tmp_path)
    written = (tmp_path / f"{source.stem}.md").read_text()
    assert "heavy: []" in written
    assert (tmp_path / f"{source.stem}-1.png").stat().st_size > 3000
    told = {
        "01_first_search": "searched, unconfirmed",
        "02_compare_variants": "points",
        "03_fff_study": "leaf_entropy",
        "04_asha_whatif": "best_kept",
    }
    outputs = "".join(part for part in written.split("```text")[1:])
    assert told[source.stem] in outputs
