"""Bad input to every command: exit 2, one clear sentence, before Ray starts, and nothing recorded is lost or added."""

import importlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from results.cli import run
from results.store import Store
from search import catalog
from search.prepare import check_new, prepare_new
from search.resources import plan_resources
from search.session import Session

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = ["data=digits", "patch=16", "dim=16", "depth=1", "heads=1", "batch_size=128", "epochs=1"]


MATCHES = {
    "wrong_measure": 'grid=[{}], match=Match(measure="neurons", target=8)',
    "no_target": 'grid=[{}], match=Match(measure="macs", target=0)',
    "loose": 'grid=[{}], match=Match(measure="macs", target=9, tolerance=1.5)',
    "no_match": 'grid=[{}], match="parameters"',
    "sampled": 'space=dict, match=Match(measure="macs", target=9)',
    "too_small": 'grid=[{"ffn": "fff"}, {"ffn": "mlp"}], match=Match(measure="parameters", target=9)',
    "undefined": 'grid=[{"ffn": "csc"}], match=Match(measure="neurons_used", target=9)',
    "no_reference": 'grid=[{}], match=Match(measure="macs", target={"ffn": "mlp", "ffn.mlp.hiden": 8})',
    "no_size": 'grid=[{}], match=Match(measure="neurons_used", target={"ffn": "csc"})',
}
"""Experiments with a match that cannot be."""


MISTAKES = {
    "one_seed": 'grid=[{"lr": 1e-3}], seeds=3',
    "crossed": 'grid={"lr": [1e-3, 3e-3]}',
    "no_function": 'space={"lr": [1e-3, 3e-3]}',
    "near_field": "trial=3, space=dict",
    "far_field": "zzz=3, space=dict",
    "of_optuna": 'space=lambda trial: {"lr": trial.suggest_float("lr", 1e-4, 1e-2)}',
    "no_kind": 'base={"epochs": 1}, space=lambda scope: suggest_ffn(scope, ("squared_relu",))',
    "two_data": 'grid=[{"data": "digits"}, {"data": "nonsense"}]',
    "of_nothing": 'space=lambda trial: {"lr": trial.draw("lr", 1e-4, 1e-2)}',
}
"""What a newcomer writes into an experiment."""


SHIFTED = """\
from search.experiment import Experiment


def {name}():
    \"\"\"?\"\"\"
    return Experiment(base={base}, space=space, trials=3, threads=1, sampler="random", scheduler="none")


def space(scope):
    return {{"ffn": "mlp", "ffn.mlp.hidden": {hidden}}}
"""
"""A search of one width."""


def begun(folder: Path, name: str) -> str:
    """A search that has one trial, as a driver that was killed leaves it; its id."""
    base = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 4}
    file = folder / f"{name}.py"
    file.write_text(SHIFTED.format(name=name, base=base, hidden='scope.int("ffn.mlp.hidden", 8, 16)'))
    resources = plan_resources(concurrency=1, cpus_per_trial=1, gpus_per_trial=0, threads=1)
    new = check_new(str(file), catalog.load(str(file)), resources)
    with Store.open(f"sqlite:///{folder}/runs/arbor.db") as store:
        prepared = prepare_new(store, new, notes="", tags=(), variants=())
        session = Session(store, prepared.search_id, new.experiment, folder=prepared.folder, header=new.header,
                          concurrency=1, gpus_per_trial=0, startup_trials=new.startup_trials)  # fmt: skip
        session.next_trial()
        return prepared.search_id


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, digits):
    """A folder in which one small trial was really trained, with things beside it that cannot be used."""
    folder = tmp_path_factory.mktemp("recorded")
    command = [sys.executable, "-m", "trainer.run", *TINY, "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(folder / "foreign.db") as connection:
        connection.execute("CREATE TABLE mine (x TEXT)")
    with Store.open(f"sqlite:///{folder}/old.db"), sqlite3.connect(folder / "old.db") as connection:
        connection.execute("UPDATE arbor_meta SET value = '0'")
    with Store.open(f"sqlite:///{folder}/newer.db"), sqlite3.connect(folder / "newer.db") as connection:
        connection.execute("UPDATE arbor_meta SET value = '99'")
    (folder / "text.db").write_text("not a database, only some words " * 50)
    weights = folder / "runs" / "single-1" / "001-mlp" / "selected.pt"
    whole = weights.read_bytes()
    (folder / "half.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "words.pt").write_text("not weights")
    content = torch.load(weights, weights_only=True)
    torch.save({**content, "flat": {**content["flat"], "dim": 32}}, folder / "other_shape.pt")
    torch.save({"weights": 1}, folder / "foreign.pt")
    packed = digits.path.read_bytes()
    (folder / "truncated.safetensors").write_bytes(packed[:-5000])
    (folder / "flipped.safetensors").write_bytes(packed[:-1] + bytes([packed[-1] ^ 255]))
    (folder / "words.safetensors").write_text("not images " * 100)
    (folder / "broken.py").write_text("def broken(:")
    (folder / "empty.py").write_text("x = 1")
    for name, arguments in {**MATCHES, **MISTAKES}.items():
        (folder / f"{name}.py").write_text(
            "from search.experiment import Experiment\nfrom search.match import Match\n"
            "from search.space import suggest_ffn\n\n"
            f'def {name}():\n    """?"""\n    return Experiment({arguments})\n'
        )
    for name in ("cats", "dogs"):
        (folder / "images" / name).mkdir(parents=True)
        (folder / "damaged" / name).mkdir(parents=True)
        (folder / "damaged" / name / "1.png").write_text("not an image")
    (folder / "plain").mkdir()
    searches = [begun(folder, name) for name in ("shifted", "vanished", "driven", "kept")]
    shifted = folder / "shifted.py"
    shifted.write_text(shifted.read_text().replace("8, 16", "100, 200"))
    (folder / "vanished.py").unlink()
    with Store.open(f"sqlite:///{folder}/runs/arbor.db") as store:
        for search_id in searches:
            store.update_search(search_id, status="interrupted")
        first = {"driver_pid": 1, "driver_started": psutil.Process(1).create_time()}  # lives as long as the machine
        store.update_search("driven-1", status="running", provenance={**store.search("driven-1").provenance, **first})
    (folder / "bad.zip").write_text("not a zip")
    return folder


CASES = [
    # command, arguments, what the sentence must say
    ("search.run", "quickstrat", "Unknown experiment 'quickstrat'; did you mean 'quickstart'"),
    ("search.run", "no/such.py", "There is no experiment file"),
    ("search.run", "broken.py", "could not be loaded: SyntaxError"),
    ("search.run", "empty.py", "must define a function empty()"),
    ("search.run", "one_seed.py", '"seeds" must be a sequence such as (0, 1, 2), but got 3'),
    ("search.run", "crossed.py", 'A "grid" must be a list with a dictionary for each variant'),
    ("search.run", "no_function.py", 'A "space" must be a function of a scope'),
    ("search.run", "near_field.py", "argument 'trial' (near_field.py, line 7); did you mean 'trials'?"),
    ("search.run", "far_field.py", "; an Experiment has base, space, grid,"),
    ("search.run", "of_optuna.py", "a scope has no 'suggest_float'; use scope.float (of_optuna.py, line 7)"),
    ("search.run", "of_nothing.py", "a scope has no 'draw'; use scope.float, scope.int or scope.categorical"),
    ("search.run", "--trials -3", '"trials" must be at least 1, but got -3'),
    ("search.run", "--trials 0", '"trials" must be at least 1'),
    ("search.run", "--reduction 1", '"reduction" must be at least 2, but got 1'),
    ("search.run", "--scheduler ashe", "Unknown scheduler 'ashe'; did you mean 'asha'"),
    ("search.run", "--scheduler sprint", "Unknown scheduler 'sprint'; known: asha, hyperband, median, none"),
    ("search.run", "--scheduler median --reduction 2", '"--reduction" is for asha and hyperband'),
    ("search.run", "baseline --scheduler asha", "so --scheduler does not apply"),
    ("search.run", "baseline --seed 3", "so --seed does not apply"),
    ("search.run", "--scheduler none --grace 2", "The scheduler 'none' stops no trial, so --grace does not apply"),
    ("search.run", "--epochs 4 --set epochs=5", "but got --epochs 4 and --set epochs=5"),
    ("search.run", "--show baseline --trials 3", "so --trials does not apply"),
    ("search.run", "--grace 0", '"grace" must be at least 1'),
    ("search.run", "--grace 50", '"grace" must be at most "epochs", but got (grace=50, epochs=12)'),
    ("search.run", "search_all --epochs 2", "(grace=3, epochs=2); give --grace 2, or more epochs."),
    ("search.run", "--epochs 0", "epochs"),
    ("search.run", "--concurrency 0", '"--concurrency" must be at least 1'),
    ("search.run", "--gpus-per-trial 99", "must be at most the GPUs of this machine"),
    ("search.run", "--workers-per-trial 0", '"--workers-per-trial" must be at least 1, but got 0'),
    ("search.run", "--nodes-per-trial 2", '"--nodes-per-trial" must be from 1 to the machines of this cluster (1)'),
    (
        "search.run",
        "--gpus-per-trial 0 --workers-per-trial 2 --set batch_size=127",
        "must divide by the trial's workers",
    ),
    ("search.run", "--set zero_stage=3", '"zero_stage" must be 0, 1 or 2'),
    ("search.run", "--cpus-per-trial 9999", "must be at most the CPUs of this machine"),
    ("search.run", "--cpus-per-trial -1", "at least 0"),
    ("search.run", "--sampler annealing", "Unknown sampler 'annealing'; known: tpe, random"),
    ("search.run", "--sampler CmaEsSample", "did you mean 'CmaEsSampler'"),
    ("search.run", "--sampler BruteForceSampler", "The key 'lr' cannot be sampled"),
    ("search.run", "--objective parameters", '"objectives" must be val_acc, alone or with one of'),
    ("search.run", "--objective val_acc --objective latency", "Unknown second objective 'latency'"),
    ("search.run", "baseline --objective val_acc", "so --objective does not apply"),
    ("search.run", "--set ffn.fff.dept=3", "Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'"),
    ("search.run", "--set lr", "KEY=VALUE"),
    ("search.run", "--set lr=fast", "lr"),
    ("search.run", "--set ffn=mpl", "ffn"),
    ("search.run", "--set ffn.squared_relu.hidden=8", "One of your own needs --variants PATH."),
    ("search.run", "no_kind.py", "Unknown feed-forward kind 'squared_relu'; known: "),
    ("search.run", "two_data.py", "train on one data set, 'digits', but a variant has data=nonsense"),
    ("search.run", "--set patch=5", 'The image size must divide by "patch"'),
    ("search.run", "--set batch_size=100000", '"batch_size" must be at most the number of training images'),
    ("search.run", "--set data=missing", "python -m trainer.dataset prepare missing"),
    ("search.run", "--set data=./truncated.safetensors", "truncated"),
    ("search.run", "--set data=./words.safetensors", "words.safetensors"),
    ("search.run", "--seeds some", '"--seeds" must be a number of seeds'),
    ("search.run", "--seeds 3", "a search, which gives each variant one seed"),
    ("search.run", "--time-budget soon", '"--time-budget" must be a time such as'),
    ("search.run", "--watchdog 0.5", '"--watchdog" must be 0 (never), or from 1'),
    ("search.run", "--watchdog nan", '"--watchdog" must be 0 (never), or from 1'),
    ("search.run", "baseline --trials 3", "is a comparison"),
    ("search.run", "baseline --set ffn.mlp.hidden=3", "differ in 'ffn.mlp.hidden'"),
    ("search.run", "--resume quickstart-9", "Unknown search 'quickstart-9'"),
    ("search.run", "quickstart --resume single-1", "Give an experiment or --resume, not both"),
    ("search.run", "--resume single-1", "was not made by search.run"),
    (
        "search.run",
        "--resume shifted-1",
        "The space of 'shifted' has changed since trial 1 was sampled (ffn.mlp.hidden)",
    ),
    ("search.run", "--resume vanished-1", "a search that goes on reads it again; put it back"),
    (
        "search.run",
        "--resume driven-1",
        "Search driven-1 is being driven by process 1 on this host; stop that one first",
    ),
    ("search.run", "--resume kept-1 --epochs 9", "so --epochs cannot change; start a new search"),
    ("search.run", "--resume kept-1 --sampler tpe", "so --sampler cannot change"),
    ("search.run", "--resume kept-1 --grace 2", "so --grace cannot change"),
    ("search.run", "--resume kept-1 --seed 4", "so --seed cannot change"),
    ("search.run", "--resume kept-1 --set lr=1", "so --set cannot change"),
    ("search.run", "--resume kept-1 --trials 0", '"trials" must be at least 1, but got 0'),
    ("search.run", "--resume kept-1 --seeds 2", "so --seeds cannot change; start a new search"),
    ("search.run", "--resume kept-1 --seeds 3,", "so --seeds cannot change; start a new search"),
    ("search.run", "--resume kept-1 --preview", "--preview is of a new search, so it does not go with --resume kept-1"),
    ("search.run", "--resume kept-1 --concurrency -1", '"--concurrency" must be at least 1, but got -1'),
    ("search.run", "--confirm kept-1", "kept-1 has no trial that ran to its end"),
    ("search.run", "--confirm kept-1 --top 0", '"--top" must be at least 1, but got 0'),
    ("search.run", "--confirm single-1", "was not made by search.run"),
    ("search.run", "--confirm kept-1 --trials 4", "so --trials does not go with it"),
    ("search.run", "--top 3", "--top says how many variants --confirm SEARCH trains"),
    ("search.run", "--epochs -3", '"epochs" must be at least 1, but got -3'),
    ("search.run", "--grace -1", '"grace" must be at least 1, but got -1'),
    ("search.run", "--time-budget -5m", '"--time-budget" must be a time such as'),
    ("search.run", "--time-budget 5", '"--time-budget" must be a time such as'),
    ("search.run", "--time-budget 0", '"--time-budget" must be a time such as'),
    ("search.run", "--gpu-hours 1", "--gpu-hours needs trials on a GPU"),
    ("search.run", "--gpu-hours -1", '"--gpu-hours" must be above 0, but got -1'),
    ("search.run", "--gpus-per-trial -1", '"--gpus-per-trial" must be at least 0, but got -1'),
    ("search.run", "--gpus-per-trial nan", '"--gpus-per-trial" must be at least 0, but got nan'),
    (
        "search.run",
        "--seeds 0",
        "a number of seeds from 1 to 1000, or a list of so many different ones such as 3,4, but got",
    ),
    (
        "search.run",
        "baseline --seeds 3,3",
        "a number of seeds from 1 to 1000, or a list of so many different ones such as 3,4, but got",
    ),
    ("search.run", "--tune-lr", "which samples learning rates where its space says so; --tune-lr is for a comparison"),
    ("search.run", "fff_depth --lr-factors 1", '"--lr-factors" must be two or more different numbers above 0'),
    ("search.run", "--warm-start kept-1", "of the 0 finished trials of kept-1"),
    (
        "search.control",
        "kept-1 stop",
        "nothing to stop; it can stay so, or to end its trials go on with: python -m search.run --resume kept-1 and ask",
    ),
    ("search.control", "kept-1 resume", "kept-1 has no driver that could resume it; start one with"),
    ("search.control", "kept-1.1 resume", "kept-1.1 is running, not paused, so there is nothing to resume"),
    ("search.importance", "nothing-1", "Unknown search"),
    ("search.importance", "kept-1", "Importances need"),
    ("search.simulate", "kept-1", "A what-if needs at least"),
    ("search.simulate", "kept-1 --concurrency 0", '"--concurrency" must be at least 1, but got 0'),
    ("results.compare", "kept-1.1 kept-9.1", "Unknown trial 'kept-9.1'; did you mean 'kept-1.1'?"),
    ("results.show", "single-1 --markdown - --csv -", "One table at most can be printed, but got --csv and --markdown"),
    ("results.show", "single-1 --parquet -", "--parquet must name a file, but got -"),
    ("benchmarks", "epch", "Unknown benchmark 'epch'"),
    ("benchmarks", "epoch --epochs 0", '"--epochs" must be at least 1, but got 0'),
    ("benchmarks", "epoch --set dim=-1", "dim"),
    ("benchmarks.faults", "--kills 0", '"--kills" must be at least 1, but got 0'),
    ("benchmarks.faults", "--concurrency 0", '"--concurrency" must be at least 1, but got 0'),
    ("benchmarks.faults", "--keep plain", '"--keep" must be a new folder, but plain exists'),
    ("benchmarks.inference", "--tokens 0", '"--tokens" must be numbers from 1 to'),
    ("benchmarks.inference", "--seconds 0", '"--seconds" must be above 0'),
    ("search.run", "--warm-start quickstart-9", "Unknown search 'quickstart-9'"),
    ("search.run", "--warm-start single-1", "single-1 was not trained on digits as it is here"),
    ("search.run", "baseline --set data=digits --warm-start single-1", "so --warm-start does not apply"),
    ("search.run", "--train-again", "--train-again is of the variants that --warm-start SEARCH knows"),
    ("search.run", "--accept-changes", "--accept-changes is of a search that goes on, so it needs --resume SEARCH"),
    ("search.control", "single-1 sleep", "Unknown request 'sleep'; known: stop, pause, resume"),
    ("search.control", "single-1 stop", "was not made by search.run, so nothing drives it that could stop"),
    ("search.control", "single-1.9 stop", "Unknown trial 'single-1.9'; did you mean 'single-1.1'"),
    ("search.control", "quickstart-9 stop", "Unknown search or trial 'quickstart-9'"),
    ("search.control", "quickstart-9 stop --storage sqlite:///none.db", "There is no database at"),
    ("search.control", "single-1", "Missing argument"),
    ("search.run", "--address 127.0.0.1", '"--address" must be host:port or auto, as in 10.0.0.1:6379'),
    ("search.run", "--address 127.0.0.1:1", "No Ray cluster answers at 127.0.0.1:1 (unavailable)"),
    ("search.run", "--resume single-1 --address 127.0.0.1:1", "was not made by search.run"),
    ("search.run", "--preview --address auto", "--preview measures this machine, so it does not go with --address"),
    ("search.run", "--checkpoints s3://bucket/runs", "got the URL 's3://bucket/runs'; mount the object store"),
    ("search.run", "--checkpoints no/such", '"--checkpoints" must be a folder that exists'),
    ("search.cluster", "10.0.0.1", '"--address" must be host:port or auto'),
    ("search.run", "--show nothing", "Unknown experiment 'nothing'"),
    ("search.run", "--variants no/such", "does not exist"),
    ("search.run", "--storage nonsense", "must be an SQLAlchemy URL"),
    ("search.run", "--storage sqlite:///no/such/arbor.db", "does not exist"),
    ("search.run", "--storage sqlite:///foreign.db", "belongs to another program"),
    ("search.run", "--storage sqlite:///old.db", "must have a schema version from 1 to"),
    ("search.run", "--storage sqlite:///text.db", "is not an SQLite database"),
    ("search.run", "--trials many", "Invalid value for '--trials'"),
    ("search.run", "--no-such-option", "No such option: --no-such-option; see python -m search.run --help."),
    ("trainer.run", "lrr=1", "Unknown key 'lrr'; did you mean 'lr'"),
    ("trainer.run", "epochs=1.5", "epochs"),
    ("trainer.run", "lr=inf", "lr"),
    ("trainer.run", "batch_size=100 accumulation=3", 'must divide by "accumulation"'),
    ("trainer.run", "classes=7", 'The data set decides "classes"'),
    ("trainer.run", "data=./flipped.safetensors patch=16 dim=16", "checksum"),
    ("trainer.run", "ffn=fff ffn.mlp.hidden=3", "active kind is 'fff'"),
    ("trainer.run", "ffn=fff_soft ffn.fff_soft.depth=0", '"ffn.fff_soft.depth" must be at least 1, but got 0'),
    ("trainer.run", "ffn=fff_soft ffn.fff_soft.leaf_width=0", '"ffn.fff_soft.leaf_width" must be at least 1'),
    ("trainer.run", "ffn=fff_soft ffn.fff_soft.balance_weight=-1", '"ffn.fff_soft.balance_weight" must be at least 0'),
    ("trainer.run", "--threads 0", '"--threads" must be from 1'),
    ("trainer.run", "ffn=fff ffn.fff.level_lr_ratio=0.5 optimizer=muon", "(optimizer=muon, level_lr_ratio=0.5)"),
    ("trainer.run", "ffn=fff ffn.fff.level_lr_ratio=0", '"ffn.fff.level_lr_ratio" must be at least 0.01, but got 0.0'),
    ("trainer.evaluate", "single-1.2", "Unknown trial 'single-1.2'; did you mean 'single-1.1'"),
    ("trainer.evaluate", "half.pt", "damaged or not a checkpoint"),
    ("trainer.evaluate", "words.pt", "damaged or not a checkpoint"),
    ("trainer.evaluate", "foreign.pt", "is not a checkpoint of Arbor"),
    ("trainer.evaluate", "other_shape.pt", "another shape than the model"),
    ("trainer.evaluate", "no.pt", "There is no checkpoint file"),
    ("trainer.evaluate", "runs/", "There is no checkpoint file"),
    ("trainer.evaluate", "single-1.1 --split all", "Invalid value for '--split': 'all' is not one of"),
    (
        "trainer.evaluate",
        "single-1.1 --execution soft",
        "can be chosen only for a kind that has several, but got 'soft'",
    ),
    ("trainer.evaluate", "single-1.1 --data missing", "python -m trainer.dataset prepare missing"),
    ("trainer.evaluate", "x-1.1 --storage sqlite:///none.db", "There is no database at"),
    ("trainer.replay", "single-1.7", "Unknown trial"),
    ("trainer.replay", "single-1.1 --epochs 99", '"--epochs" must be from 1 to the 1 recorded'),
    ("trainer.dataset", "prepare cifar10 --from no/such.zip", "no/such.zip"),
    ("trainer.dataset", "prepare mine --from bad.zip", "bad.zip"),
    ("trainer.dataset", "prepare mine --from plain", "plain"),
    ("trainer.dataset", "prepare mine --from images", "cats"),
    ("trainer.dataset", "prepare mine --from damaged", "1.png"),
    ("trainer.dataset", "prepare mine", "--from"),
    ("trainer.dataset", "show nothing", "nothing"),
    ("search.run", "wrong_measure.py", "Unknown measure of a match 'neurons'; did you mean 'neurons_used'"),
    ("search.run", "no_target.py", 'The "target" of a match must be above 0, but got 0'),
    ("search.run", "loose.py", 'The "tolerance" of a match must be from 0 to below 1, but got 1.5'),
    ("search.run", "no_match.py", 'A "match" must be a Match(measure=..., target=...) or a list of them'),
    ("search.run", "sampled.py", 'A "match" solves the widths of given variants, so it needs a "grid"'),
    ("search.run", "too_small.py", "the nearest is mlp with hidden=1 comes to 1,537 (+1.7e+04 %)"),
    ("search.run", "too_small.py --preview", "No variant of 'too_small' can be matched: parameters"),
    ("search.run", "undefined.py", "the nearest is csc: its kind has no neurons_used"),
    ("search.run", "no_reference.py", "Unknown key 'ffn.mlp.hiden'; did you mean 'ffn.mlp.hidden'"),
    (
        "search.run",
        "no_size.py",
        "The reference of a match must have neurons used by the feed-forward part, but csc has none",
    ),
    ("search.run", "csc --set data=digits --set dim=4 --set patch=16 --set ffn.csc.partner=none", "partner"),
    ("search.run", "quickstart --set ffn=csc", "The space offers mlp, fff for 'ffn', but it is fixed to csc"),
    ("trainer.run", "ffn=csc ffn.csc.fanin=600", '"ffn.csc.fanin" must be at most max(dim, hidden)'),
    ("arch_space.show", "ffn=ffff", "fff"),
    ("arch_space.show", "lr=1", "lr"),
    ("results.compare", "single-1.1", "needs at least two of trial, variant or search"),
    (
        "results.compare",
        "single-1.1 single-1.9",
        "Unknown trial 'single-1.9'; did you mean 'single-1.1'?",
    ),
    ("results.compare", "single-1.1 single-1 --split train", '"--split" must be val or test'),
    ("results.compare", "single-1.1 single-1", "are one variant"),
    ("results.ingest", "no/such.txt", "There is no file"),
    ("results.ingest", "text.db", "none can be read"),
    ("results.ingest", "runs", "is a folder"),
    ("search.export_study", "single-7 study.db", "Unknown search 'single-7'; did you mean 'single-1'"),
    ("search.export_study", "single-1 runs/arbor.db", "holds no Optuna studies"),
    ("search.export_study", "single-1 text.db", "is not an SQLite database"),
    ("results.show", "--list --kind fff", "--kind chooses rows of a table, and --list has a line for each search"),
    ("results.show", "--tag none", "No search has the tag 'none'"),
    ("results.show", "single-2", "Unknown search 'single-2'; did you mean 'single-1'"),
    ("results.show", "single-1 --csv no/such/table.csv", "does not exist"),
    ("results.show", "--storage sqlite:///none.db", "There is no database at"),
    ("search.simulate", "nothing-1", "Unknown search"),
    ("search.simulate", "single-1", "was not made by search.run"),
    ("search.simulate", "single-1 --reduction 1", '"--reduction" must give different numbers of at least 2'),
    ("search.simulate", "single-1 --grace 0", '"--grace" must give different numbers of at least 1'),
    ("search.simulate", "single-1 --scheduler ash", "Unknown scheduler 'ash'; did you mean 'asha'"),
    ("search.simulate", "single-1 --orders 0", '"--orders" must be at least 1'),
    ("results.audit", "nothing-1", "Unknown search"),
    ("results.audit", "single-1", "was not made by search.run"),
    ("results.audit", "quickstart-1 --storage sqlite:///none.db", "There is no database at"),
    ("results.show", "--storage sqlite:///newer.db", "has schema version 99, and this Arbor reads versions up to"),
    ("results.clean", "--keep-best -1", '"--keep-best" must be at least 0, but got -1'),
    ("results.clean", "--search single-2 --yes", "Unknown search 'single-2'; did you mean 'single-1'"),
    ("results.clean", "--archive single-1 --restore none-1", "Unknown search 'none-1'"),
    ("results.clean", "--predictions", "must have a rule beside it"),
    ("results.clean", "--storage sqlite:///none.db", "There is no database at"),
    ("results.plot", "nothing-1", "Unknown search"),
    ("results.plot", "single-1 -o no/such/picture.png", "does not exist"),
    ("results.plot", "--leaf-use single-1.9", "Unknown trial 'single-1.9'; did you mean 'single-1.1'"),
    ("results.plot", "--leaf-use single-1.1", "Trial single-1.1 has no count of its leaves"),
    ("results.plot", "single-1 --leaf-use single-1.1", '"--leaf-use" must be given without a search'),
]


ENTRIES = {"trainer.dataset": "trainer.dataset_command", "benchmarks": "benchmarks.__main__"}
"""The module that has a command's app, where it is not the one that `python -m` names."""


@pytest.mark.parametrize(("module", "arguments", "sentence"), CASES, ids=[f"{m} {a}" for m, a, _ in CASES])
def test_bad_input_gets_one_sentence_and_exit_2(recorded, capfd, monkeypatch, module, arguments, sentence):
    monkeypatch.chdir(recorded)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setattr(sys, "argv", [module, *arguments.split()])
    before = content(recorded)
    entry = importlib.import_module(ENTRIES.get(module, module))
    with pytest.raises(SystemExit) as ended:
        entry.main() if module in ("trainer.dataset", "arch_space.show") and not hasattr(entry, "app") else run(
            entry.app, f"python -m {module}"
        )
    output = capfd.readouterr()
    assert ended.value.code == 2, output.err
    assert "Traceback" not in output.err
    assert output.err.startswith("Error: ")
    assert sentence in output.err
    assert output.err.count("\n") == 1, "one line"
    assert content(recorded) == before, "nothing recorded was lost or added"
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


PROCESSES = (
    "quickstrat",
    "--set ffn.fff.dept=3",
    "lrr=1",
    "single-1.2",
    "single-2",
    "single-1 --csv no/such/table.csv",
)


@pytest.mark.parametrize(
    ("module", "arguments", "sentence"), [case for case in CASES if case[1] in PROCESSES], ids=PROCESSES
)
def test_a_process_of_its_own_says_the_same(recorded, module, arguments, sentence):
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments.split()],
        cwd=recorded, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def content(folder: Path) -> list[object]:
    """Every row of the store, and the files beside it."""
    with sqlite3.connect(f"file:{folder}/runs/arbor.db?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in sorted(tables)]
    files = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if not path.name.endswith(("-wal", "-shm", ".pyc")) and "__pycache__" not in path.parts
    )
    return [rows, files]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount a small file system"
)
def test_a_data_set_that_does_not_fit_on_the_disk_leaves_nothing_half_made(tmp_path, monkeypatch, capfd, cifar10_zip):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        monkeypatch.setenv("ARBOR_DATA", str(disk))
        done = subprocess.run(
            [sys.executable, "-m", "trainer.dataset", "prepare", "cifar10", "--from", str(cifar10_zip)],
            cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "disk is full" in done.stderr
        assert not [path for path in disk.iterdir() if not path.name.endswith(".lock")]
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
