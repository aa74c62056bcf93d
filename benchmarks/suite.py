"""The benchmarks by name: each starts its own processes and returns rows of figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results.errors import InputError

Row = dict[str, Any]


def _flat(changes: dict[str, Any], epochs: int) -> str:
    from benchmarks.work import trial_config

    return json.dumps(trial_config(changes, epochs=epochs + 4).to_flat())


def timed(mode: str, changes: dict[str, Any], epochs: int, *, at_once: int = 1) -> Row:
    """Figures of `at_once` equal processes that are timed at the same time; their mean.

    Raises:
        InputError: a process failed; its last line is in the sentence.
    """
    command = [sys.executable, "-m", "benchmarks.child", mode, _flat(changes, epochs), str(epochs)]
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # the children hold it, too
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path.cwd())
        for _ in range(at_once)
    ]
    figures: list[Row] = []
    try:
        for child in children:
            _wait_for("READY", child, mode, log)
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        figures = [json.loads(_wait_for("{", child, mode, log)) for child in children]
    finally:
        for child in children:
            if not figures:  # one of them failed
                child.kill()
            child.wait()
    numbers = [key for key, value in figures[0].items() if isinstance(value, int | float)]
    rest = {key: value for key, value in figures[0].items() if isinstance(value, dict)}
    return {**{key: sum(row[key] for row in figures) / at_once for key in numbers}, **rest}


def _wait_for(start: str, child: subprocess.Popen[str], mode: str, log: Any) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(start):
            return line
    log.seek(0)
    raise InputError(f"The process that times {mode!r} failed: {_last_line(log.read())}")


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _output(module: str, *arguments: str, environment: dict[str, str] | None = None) -> list[str]:
    """The lines that a command of ours printed. Raises InputError where it failed, with its last line."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise InputError(f"`python -m {module}` failed: {_last_line(done.stderr or done.stdout)}")
    return done.stdout.strip().splitlines()


def epoch(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """An epoch of a trial (50,000 images trained, 10,000 evaluated) against constant data, bare loops and the old way."""
    for at_once in (1, 4):
        for mode in ("trial", "constant"):
            yield {"what": mode, "at once": at_once, **timed(mode, changes, epochs, at_once=at_once)}
    for mode in ("engine", "bare", "bare_no_graph"):
        yield {"what": f"{mode}, training alone", "at once": 1, **timed(mode, changes, epochs)}
    yield {"what": "trial, eager", "at once": 1, **timed("trial", {**changes, "compile": False}, epochs)}
    yield {"what": "seed_style", "at once": 1, **timed("seed_style", changes, min(epochs, 2))}


def profile(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """Where an epoch's seconds go: phases of the step, batches, evaluation, reports; and the slowest kernels."""
    trial, constant = (timed(mode, changes, epochs) for mode in ("trial", "constant"))
    phases = timed("phases", changes, epochs)
    whole = trial["epoch_seconds"]
    kernels = phases.pop("kernels")
    seconds = dict(phases)
    if kernels:  # a recorded step, whose kernels follow one another with gaps; a called one waits in each phase
        seconds["between kernels"] = constant["train_seconds"] - sum(phases.values())
    seconds["waiting for batches"] = trial["train_seconds"] - constant["train_seconds"]
    seconds["evaluation"] = trial["val_seconds"]
    seconds["reports and checkpoints"] = whole - trial["train_seconds"] - trial["val_seconds"]
    for part, took in seconds.items():
        yield {"what": part, "epoch_seconds": took, "share": took / whole}
    yield {"what": "whole epoch", "epoch_seconds": whole, "share": 1.0}
    for name, took in kernels.items():
        yield {"what": name, "epoch_seconds": took, "share": took / whole}


def kinds(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """An epoch of each feed-forward kind against the dense one."""
    for name, keys in (
        ("mlp hidden=256", {"ffn": "mlp", "ffn.mlp.hidden": 256}),
        ("fff depth=7", {"ffn": "fff", "ffn.fff.depth": 7}),
        ("pair mlp hidden=256", {"ffn": "mlp", "ffn.mlp.hidden": 256, "layout": "pair"}),
    ):
        yield {"what": name, "at once": 1, **timed("trial", {**changes, **keys}, epochs)}


def optimizers(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """An epoch with each optimizer, with dropout, and with kernels that give the same bits in every run."""
    for keys in (
        {"optimizer": "adamw"}, {"optimizer": "sgd"}, {"optimizer": "muon"}, {"optimizer": "muon", "dropout": 0.1},
        {"optimizer": "muon", "deterministic": True},
    ):  # fmt: skip
        name = " ".join(f"{key}={value}" for key, value in keys.items())
        yield {"what": name, "at once": 1, **timed("trial", {**changes, **keys}, epochs)}


@contextmanager
def _fresh_caches() -> Iterator[dict[str, str]]:
    """An environment in which nothing that a compiler ever wrote is found."""
    with tempfile.TemporaryDirectory() as folder:
        yield {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
            "TRITON_CACHE_DIR": f"{folder}/triton",
        }


def start(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """From process start to the first finished step, and from one trial's end to the next one's first step."""
    with _fresh_caches() as environment:
        for name in ("caches empty", "caches full"):
            began = time.time()
            said = json.loads(_output("benchmarks.first_step", _flat(changes, 20), environment=environment)[-1])
            yield {"what": f"process start to first step, {name}", "seconds": said["first_step_at"] - began}
            yield {"what": f"next trial, same shapes, {name}", "seconds": said["same"]}
            yield {"what": f"next trial, other shapes, {name}", "seconds": said["other"]}


def accuracy(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """Process start to the tested end of `experiments/fast.py`, compiler's caches empty, for 5 seeds; epochs unused."""
    import results
    from benchmarks.work import trial_config

    for seed in range(100, 105):  # fresh ones: the recipe was tuned with others
        flat = trial_config({**changes, "seed": seed}, epochs=1).to_flat()
        pairs = [f"{key}={'none' if value is None else value}" for key, value in flat.items()]
        with _fresh_caches() as environment, tempfile.TemporaryDirectory() as folder:
            storage = f"sqlite:///{folder}/arbor.db"
            began = time.perf_counter()
            _output("trainer.run", *pairs, "--storage", storage, environment=environment)
            seconds = time.perf_counter() - began
            row = results.load(storage).trials.iloc[0]
        yield {"what": f"seed {seed}", "seconds": seconds, "val_acc": row["val_acc"], "test_acc": row["test_acc"]}


def search(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """Trials an hour through `search.run` with 1, 2 and 4 at once, 8 trials of 10 epochs."""
    from benchmarks.work import trial_config

    flat = trial_config(changes, epochs=1).to_flat()
    flat = {key: value for key, value in flat.items() if key not in ("seed", "classes", "image_size")}
    flat["epochs"] = 10
    for at_once in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "eight.py"
            file.write_text(
                "from search.experiment import Experiment\n\n\ndef eight() -> Experiment:\n"
                '    """How many trials fit into an hour?"""\n'
                f"    return Experiment(base={flat!r}, grid=[{{}}], seeds=tuple(range(8)))\n"
            )
            began = time.perf_counter()
            options = ("--concurrency", str(at_once), "--no-dashboard", "--storage", f"sqlite:///{folder}/arbor.db")
            _output("search.run", str(file), *options)
            seconds = time.perf_counter() - began
        yield {
            "what": f"{at_once} at once",
            "at once": at_once,
            "seconds": seconds,
            "trials_an_hour": 8 * 3600 / seconds,
        }


def driver(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """What the driver costs a report and a trial, without Ray or training: searches in virtual time; epochs unused."""
    for trials, sampler in ((1_000, "random"), (1_000, "tpe"), (10_000, "random"), (10_000, "tpe")):
        yield {"what": sampler, **json.loads(_output("benchmarks.driver", str(trials), sampler)[-1])}


SUITE: dict[str, Callable[[dict[str, Any], int], Iterator[Row]]] = {
    each.__name__: each for each in (epoch, profile, kinds, optimizers, start, accuracy, search, driver)
}
