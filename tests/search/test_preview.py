"""The preview of a search: real measurements on the digits, simulated searches, and what is refused."""

import os
import random
import re
import sys
from dataclasses import replace

import pytest
import sqlalchemy as sa
import torch
from rich.console import Console
from typer.testing import CliRunner

from results.cli import run
from results.errors import InputError
from results.store import Store
from search import catalog, measured
from search.expected import expected_epochs, simulate
from search.preview import fitting
from search.run import app

TINY = [
    "--trials",
    "4",
    "--epochs",
    "3",
    "--grace",
    "1",
    "--concurrency",
    "1",
    "--cpus-per-trial",
    "1",
    "--gpus-per-trial",
    "0",
]


@pytest.fixture
def storage(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(measured, "MEASURE_SECONDS", 0.5)
    monkeypatch.setenv("COLUMNS", "160")
    return f"sqlite:///{tmp_path}/arbor.db"


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def no_child(*arguments, **keywords):
    raise AssertionError("a process was started")


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_a_preview_prints_numbers_makes_no_search_and_measures_once(storage, monkeypatch, concurrency):
    arguments = ("quickstart", "--preview", *TINY, "--concurrency", concurrency, "--storage", storage)
    if concurrency == "2" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    first = invoke(*arguments).output
    assert re.search(r"trials +4 \(as many variants, sampled\)", first)
    assert re.search(r"parameters +[\d,]+ to [\d,]+", first)
    variants = int(re.search(r"Measuring (\d) variants", first)[1])
    assert 2 <= variants <= 4  # the cheapest and the dearest of each of two kinds
    assert all(f"Measured {number} of {variants} after" in first for number in range(1, variants + 1))
    assert "One seed a variant will resolve no difference" in first
    assert re.search(r"seconds per epoch +[\d.e-]+ to [\d.e-]+ \(\d variants measured", first)
    assert re.search(r"wall time +\d+ (s|min) with \d at once", first)
    assert "GPU memory" not in first
    assert "seconds measured now" in first
    with Store.open(storage, create=False) as store:
        assert store.searches() == []
    monkeypatch.setattr(measured, "_run_together", no_child)
    second = invoke(*arguments).output
    assert re.search(r"measured on \d{4}-\d\d-\d\d \d\d:\d\d, kept in the store", second)
    assert second.split("Sources")[0] == re.sub(r"Measur.*\n", "", first.split("Sources")[0])
    with pytest.raises(AssertionError, match="started"):  # another trial is another measurement
        invoke(*arguments, "--set", "batch_size=128")


def test_a_database_of_the_version_without_the_table_gets_it_when_a_search_opens_it(storage, tmp_path):
    Store.open(storage).close()
    engine = sa.create_engine(storage)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE measurements"))
        connection.execute(sa.text("ALTER TABLE trials DROP COLUMN latency_seconds"))
        connection.execute(sa.text("UPDATE arbor_meta SET value = '1'"))
    with Store.open(storage) as store:
        assert store.measurement("a") is None
        store.keep_measurement("a", {"b": 1})
        store.keep_measurement("a", {"b": 2})
        assert store.measurement("a")[1] == {"b": 2}


def test_a_variant_that_cannot_be_trained_is_named_in_one_sentence(storage, monkeypatch):
    failing = [sys.executable, "-c", "raise SystemExit('Error: no room')"]
    with pytest.raises(InputError, match="no preview: no room"):
        measured._run_together(failing, 2, 1, lambda lines: None)


def test_measuring_says_how_far_it_is_while_its_processes_run():
    child = "import time\nfor word in 'abc':\n    print(word, flush=True)\n    time.sleep(0.7)"
    seen = []
    assert measured._run_together([sys.executable, "-c", child], 2, 1, seen.append) == ["c", "c"]
    assert {1, 2, 3} <= set(seen) <= {0, 1, 2, 3}
    assert seen == sorted(seen)


def test_every_measured_variant_is_told_also_those_that_end_between_two_looks(capsys):
    assert measured._run_together([sys.executable, "-c", "print('a\\nb')"], 1, 1, (seen := []).append) == ["b"]
    assert seen[-1] == 2
    with measured._Progress(Console(), total=2, together=1) as progress:
        progress.look(2)
    assert [line.split(" after")[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "Measured 1 of 2",
        "Measured 2 of 2",
    ]


HORIZONS = '''\
from search.experiment import Experiment


def horizons() -> Experiment:
    """Do trials of two horizons have a price?"""
    base = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 256, "ffn": "mlp"}
    return Experiment(base=base, grid=[{"epochs": 2}, {"epochs": 3}], seeds=(0, 1))
'''


def test_the_epochs_of_a_comparison_are_exact_also_where_its_variants_have_horizons_of_their_own(
    storage, digits, tmp_path
):
    path = tmp_path / "horizons.py"
    path.write_text(HORIZONS)
    assert catalog.load(str(path)).epochs == 3
    printed = invoke(str(path), "--preview", "--concurrency", "1", "--storage", storage).output
    assert re.search(r"expected epochs +10 \(every trial trains 2 to 3\)", printed)


@pytest.mark.parametrize("concurrency", [1, 3, 20])
@pytest.mark.parametrize("pooled", [False, True])
def test_simulated_searches_train_between_the_grace_and_the_horizon(concurrency, pooled):
    experiment = replace(catalog.load("quickstart"), pooled_rungs=pooled)
    groups = ["all"] * 18 if pooled else ["mlp", "fff"] * 9
    for seed in range(20):
        epochs = simulate(experiment, groups, concurrency, random.Random(seed))
        assert all(count in (3, 6, 12) for count in epochs)  # rungs and horizon
        assert max(epochs) == 12
    total = sum(expected_epochs(experiment, groups, concurrency))
    assert 18 * experiment.grace < total < 18 * experiment.epochs
    assert total == sum(expected_epochs(experiment, groups, concurrency))


@pytest.mark.parametrize("scheduler", ["hyperband", "median", "none"])
def test_the_epochs_under_another_scheduler_are_simulated_by_it(scheduler):
    experiment = replace(catalog.load("quickstart"), scheduler=scheduler)
    epochs = expected_epochs(experiment, ["mlp", "fff"] * 9, 4)
    assert all(experiment.grace <= count <= experiment.epochs for count in epochs)
    assert (sum(epochs) == 18 * experiment.epochs) == (scheduler == "none")


def test_trials_fit_on_a_card_with_their_contexts():
    assert fitting(80 * 2**30, int(1.4 * 2**30)) == 38
    assert fitting(2**30, 2**30) == 0


def test_a_preview_of_a_resumed_search_is_refused(storage):
    with pytest.raises(InputError, match="--preview"):
        invoke("--preview", "--resume", "quickstart-1", "--storage", storage)


@pytest.mark.parametrize(("hours", "said"), [("1.5", "needs trials on a GPU; use --time-budget"), ("0", "above 0"),
                                              ("nan", "above 0")])  # fmt: skip
def test_gpu_hours_are_refused_with_exit_code_2(storage, monkeypatch, capsys, hours, said):
    arguments = ["search.run", "quickstart", *TINY, "--gpu-hours", hours, "--storage", storage]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as ended:
        run(app, "python -m search.run")
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_preview_on_a_gpu_says_how_many_trials_fit(storage):
    said = invoke("quickstart", "--preview", "--trials", "3", "--epochs", "3", "--grace", "1", "--concurrency", "2",
                  "--storage", storage).output  # fmt: skip
    assert re.search(r"\d such trials fit on the card", said)
