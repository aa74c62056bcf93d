"""The benchmarks by name: each starts its own processes and returns rows of figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from results.errors import InputError

Row = dict[str, Any]


def _flat(changes: dict[str, Any], epochs: int) -> str:
    from benchmarks.work import trial_config

    return json.dumps(trial_config(changes, epochs=epochs + 4).to_flat())


class _Child:
    """A process of `benchmarks.child` that gets ready, then waits for `measure`."""

    def __init__(self, mode: str, changes: dict[str, Any], epochs: int) -> None:
        self._mode = mode
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # the process holds it, too
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", mode, _flat(changes, epochs), str(epochs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=Path.cwd(),
        )

    def ready(self) -> None:
        """Wait until it is warm. Raises InputError if it ends before."""
        self._wait_for("READY")

    def go(self) -> None:
        """Let it measure."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def figures(self) -> Row:
        """What it measured. Raises InputError if it failed, with its last line."""
        figures: Row = json.loads(self._wait_for("{"))
        self._process.wait()
        return figures

    def end(self) -> None:
        """Nothing of it stays; does nothing to one that has ended."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _wait_for(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        self._log.seek(0)
        raise InputError(f"The process that times {self._mode!r} failed: {_last_line(self._log.read())}")


def timed(mode: str, changes: dict[str, Any], epochs: int, *, at_once: int = 1) -> Row:
    """Figures of `at_once` equal processes that are timed at the same time; their mean.

    Raises:
        InputError: a process failed; its last line is in the sentence.
    """
    with _children([(mode, changes)] * at_once, epochs) as children:
        for child in children:
            child.go()
        figures = [child.figures() for child in children]
    numbers = [key for key, value in figures[0].items() if isinstance(value, int | float)]
    rest = {key: value for key, value in figures[0].items() if isinstance(value, dict)}
    return {**{key: sum(row[key] for row in figures) / at_once for key in numbers}, **rest}


def in_turn(runs: Sequence[tuple[str, str, dict[str, Any]]], epochs: int) -> Iterator[Row]:
    """A row for each (what, mode, changes): processes that get ready together and are timed one after the other.

    Raises:
        InputError: as `timed`.
    """
    together = max(1, (os.cpu_count() or 1) // 2)
    for first in range(0, len(runs), together):
        part = runs[first : first + together]
        with _children([(mode, changes) for _, mode, changes in part], epochs) as children:
            for (what, _, _), child in zip(part, children, strict=True):
                child.go()
                yield {"what": what, "at once": 1, **child.figures()}


@contextmanager
def _children(runs: Sequence[tuple[str, dict[str, Any]]], epochs: int) -> Iterator[list[_Child]]:
    """Ready processes, which are gone afterwards."""
    with ExitStack() as stack:
        children = []
        for mode, changes in runs:
            child = _Child(mode, changes, epochs)
            stack.callback(child.end)
            children.append(child)
        for child in children:
            child.ready()
        yield children


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
    runs: list[tuple[str, str, dict[str, Any]]] = [(mode, mode, changes) for mode in ("trial", "constant")]
    runs += [(f"{mode}, training alone", mode, changes) for mode in ("engine", "bare", "bare_no_graph")]
    runs.append(("trial, eager", "trial", {**changes, "compile": False}))
    yield from in_turn(runs, epochs)
    for mode in ("trial", "constant"):
        yield {"what": mode, "at once": 4, **timed(mode, changes, epochs, at_once=4)}
    yield {"what": "seed_style", "at once": 1, **timed("seed_style", changes, min(epochs, 2))}


PARTS = (
    "forward",
    "backward",
    "clipping",
    "update",
    "between kernels",
    "waiting for batches",
    "evaluation",
    "reports and checkpoints",
)
"""What `profile` divides an epoch into, in this order."""


def profile(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """Where an epoch's seconds go: phases of the step, batches, evaluation, reports; and the slowest kernels."""
    trial, constant, phases = in_turn([(mode, mode, changes) for mode in ("trial", "constant", "phases")], epochs)
    del phases["what"], phases["at once"]
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


def loader(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """DALI's batches alone, by augmentation and batch size: what training cannot outrun."""
    keys = [
        {"augment": augment, "batch_size": batch_size, "accumulation": 1}
        for augment in ("crop_pad_alternate", "crop_pad_cutout", "crop_resized")
        for batch_size in (512, 1024)
    ]
    names = [f"{each['augment']}, batch {each['batch_size']}" for each in keys]
    yield from in_turn([(name, "loader", {**changes, **each}) for name, each in zip(names, keys, strict=True)], epochs)


def kinds(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """An epoch of each feed-forward kind against the dense one, and what level rates cost."""
    fff = {"ffn": "fff", "ffn.fff.depth": 7}
    fanout = {"ffn": "fff_fanout", "ffn.fff_fanout.fanout": 4, "ffn.fff_fanout.depth": 3}
    variants: dict[str, dict[str, Any]] = {
        "mlp hidden=256": {"ffn": "mlp", "ffn.mlp.hidden": 256},
        "fff depth=7": fff,
        "pair mlp hidden=256": {"ffn": "mlp", "ffn.mlp.hidden": 256, "layout": "pair"},
        "glu hidden=256": {"ffn": "glu", "ffn.glu.hidden": 256},
        "fff_fanout 4, depth=3, hard": {**fanout, "ffn.fff_fanout.choice": "hard"},
        "fff_fanout 4, depth=3, weighted": {**fanout, "ffn.fff_fanout.choice": "weighted"},
        "fff_soft, defaults": {"ffn": "fff_soft"},
        "flat hidden=256": {"ffn": "flat", "ffn.flat.hidden": 256},
        "csc hidden=256": {"ffn": "csc", "ffn.csc.hidden": 256},
        "fff depth=7, adamw": {**fff, "optimizer": "adamw"},
        "fff depth=7, adamw, level_lr_ratio=0.7": {**fff, "optimizer": "adamw", "ffn.fff.level_lr_ratio": 0.7},
    }
    yield from in_turn([(name, "trial", {**changes, **keys}) for name, keys in variants.items()], epochs)


def optimizers(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """An epoch with each optimizer, with dropout, and with kernels that give the same bits in every run."""
    choices: tuple[dict[str, Any], ...] = (
        {"optimizer": "adamw"}, {"optimizer": "sgd"}, {"optimizer": "muon"}, {"optimizer": "muon", "dropout": 0.1},
        {"optimizer": "muon", "deterministic": True},
    )  # fmt: skip
    names = [" ".join(f"{key}={value}" for key, value in keys.items()) for keys in choices]
    yield from in_turn(
        [(name, "trial", {**changes, **keys}) for name, keys in zip(names, choices, strict=True)], epochs
    )


@contextmanager
def _fresh_caches() -> Iterator[dict[str, str]]:
    """An environment in which nothing that a compiler ever wrote is found."""
    # a trial that ends leaves behind who compiles for it
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
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

    for seed in range(300, 305):  # fresh ones: the recipe was tuned with others
        flat = trial_config({**changes, "seed": seed}, epochs=1, recipe={}).to_flat()
        pairs = [f"{key}={'none' if value is None else value}" for key, value in flat.items()]
        with _fresh_caches() as environment, tempfile.TemporaryDirectory() as folder:
            storage = f"sqlite:///{folder}/arbor.db"
            began = time.perf_counter()
            _output("trainer.run", *pairs, "--storage", storage, environment=environment)
            seconds = time.perf_counter() - began
            told = results.load(storage)
            row = told.trials.iloc[0]
        by_compiled_code = ["compiled" in extra for extra in told.epochs["extra"]]
        yield {
            "what": f"seed {seed}",
            "seconds": seconds,
            "trial_seconds": row["wall_seconds"],
            "eager_epochs": by_compiled_code.count(False),
            "take_up_seconds": told.epochs["train_seconds"][by_compiled_code.index(True)]
            if any(by_compiled_code)
            else None,
            "val_acc": row["val_acc"],
            "test_acc": row["test_acc"],
        }


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


def inference(changes: dict[str, Any], epochs: int) -> Iterator[Row]:
    """Dense against conditional execution at inference, every token another, beside dense layers; epochs unused."""
    from benchmarks.inference import of_kinds

    return of_kinds(changes)


SUITE: dict[str, Callable[[dict[str, Any], int], Iterator[Row]]] = {
    each.__name__: each
    for each in (epoch, profile, loader, kinds, optimizers, start, accuracy, search, driver, inference)
}
