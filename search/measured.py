"""Seconds and memory of a few planned trials, by training them for some seconds in processes of their own.

As many train at once (`trainer.measure`) as the search would run. Of a trial of several workers each of these computes
one worker's part, at its part of the batch; what the exchange of gradients adds is not measured. The store keeps what they
took, so that the next preview of the same trials on the same machine and code is immediate.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console

from arch_space.registry import FFN
from results.errors import InputError
from results.store import Store
from search.prepare import Checked
from search.resources import Resources, trials_a_card
from trainer.config import Flat, TrialConfig
from trainer.fingerprint import fingerprint, source_hash, variant_source
from trainer.measure import PER_EPOCH, SECONDS

MEASURE_SECONDS = 6.0
MEASURED_OF_A_PACE = {1: 3, 2: 2}
"""Variants measured of each pace, by how many paces there are; of more paces, one each."""
MOST_PACES = 8
"""Of more, those are measured that most trials have."""
LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One trial that the search would train, or one like it."""

    config: TrialConfig
    group: str
    parameters: int
    macs: int

    @property
    def kind(self) -> str:
        """Of its feed-forward part."""
        return FFN.kind_of(self.config.model.ffn)

    @property
    def pace(self) -> Hashable:
        """Trials of one pace differ in speed by their size alone: kinds that cost alike do not run alike, nor do
        optimizers, batches and augmentations."""
        config = self.config
        model = (self.kind, config.model.dropout > 0)
        batch = (config.batch_size, config.accumulation, config.augment)
        return (
            *model,
            *batch,
            config.optimizer,
            config.zero_stage,
            config.precision,
            config.compile,
            config.deterministic,
        )

    @property
    def shape(self) -> Hashable:
        """Trials of one shape share their compiled code."""
        return (*self.config.model.to_flat().items(), self.config.micro_batch, self.config.precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What one variant took here, and since when the store has known it (none: measured just now)."""

    planned: Planned
    values: dict[str, Any]
    kept: str | None


def chosen(trials: Sequence[Planned]) -> list[Planned]:
    """A few of each pace, from its cheapest to its dearest by multiply-adds."""
    frequent = Counter(trial.pace for trial in trials).most_common(MOST_PACES)
    paces: dict[Hashable, dict[int, Planned]] = {pace: {} for pace, _ in frequent}
    for trial in trials:
        if trial.pace in paces:
            paces[trial.pace].setdefault(trial.macs, trial)  # the first of each
    most = MEASURED_OF_A_PACE.get(len(paces), 1)
    picked = []
    for by_macs in paces.values():
        ordered = [by_macs[macs] for macs in sorted(by_macs)]
        last = len(ordered) - 1
        places = {last // 2} if most == 1 else {last * step // (most - 1) for step in range(most)}
        picked += [ordered[place] for place in sorted(places)]
    return picked


def at_once(resources: Resources, trials: int) -> int:
    """Workers that share one GPU, or the cores, while the search runs; so many are measured at once."""
    slots = min(resources.concurrency, trials) * resources.workers_per_trial
    if resources.workers_per_trial > 1 and resources.gpus_per_trial:
        return 1
    if resources.gpus_per_trial:
        return min(slots, trials_a_card(resources.gpus_per_trial) if resources.gpus_per_trial < 1 else 1)
    return min(slots, resources.cpus)


def measurements(
    store: Store, new: Checked, trials: Sequence[Planned], variants: Sequence[str], console: Console
) -> list[Measurement]:
    """What the chosen variants take: from the store where it knows, else measured now and kept."""
    together = at_once(new.resources, len(trials))
    picked = chosen(trials)
    keys = [_key(new, trial, together) for trial in picked]
    found: dict[str, Measurement] = {}
    for trial, key in zip(picked, keys, strict=True):
        if (known := store.measurement(key)) is not None:
            created, values = known
            found[key] = Measurement(planned=trial, values=values, kept=f"{created.astimezone():%Y-%m-%d %H:%M}")
    missing = [(trial, key) for trial, key in zip(picked, keys, strict=True) if key not in found]
    if missing:
        with _Progress(console, len(missing), together) as progress:
            answers = _measured([trial for trial, _ in missing], together, new.resources, variants, progress.look)
        for (trial, key), values in zip(missing, answers, strict=True):
            store.keep_measurement(key, values)
            found[key] = Measurement(planned=trial, values=values, kept=None)
    return [found[key] for key in keys]


class _Progress:
    """How far measuring is: a line that moves in a terminal, a plain line for each variant elsewhere."""

    def __init__(self, console: Console, total: int, together: int) -> None:
        self._console, self._total, self._together = console, total, together
        self._began, self._said = time.monotonic(), 0
        self._status = console.status("")

    def __enter__(self) -> Self:
        self._status.start()
        if not self._console.is_terminal:
            self._say(f"{self._text(0)} (each trains for about {MEASURE_SECONDS:g} s, after the start of its process)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def look(self, done: int) -> None:
        """Called often, with how many variants are measured."""
        self._status.update(f"{self._text(done)}, {time.monotonic() - self._began:.0f} s so far")
        while not self._console.is_terminal and done > self._said:  # two may have ended since the last look
            self._said += 1
            self._say(f"Measured {self._said} of {self._total} after {time.monotonic() - self._began:.0f} s")

    def _text(self, done: int) -> str:
        beside = f", {self._together} processes at once" if self._together > 1 else ""
        return f"Measuring {self._total} variants{beside}: {done} done"

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def _key(new: Checked, trial: Planned, together: int) -> str:
    """What a measurement depends on: the trial but for its seed, the device, its neighbours, the code, the data."""
    import torch

    resources = new.resources
    machine = fingerprint(torch.device("cuda" if resources.gpus_per_trial else "cpu"), resources.threads)
    flat = {key: value for key, value in _part_of(trial, resources).items() if key != "seed"}
    parts = [
        sorted(flat.items()),
        machine["gpu"] or machine["cpu"],
        together,
        source_hash(),
        resources.threads,
        new.header.checksum,
        variant_source(type(trial.config.model.ffn)),
        *([resources.workers_per_trial] if resources.workers_per_trial > 1 else []),  # by which seconds are divided
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _measured(
    part: Sequence[Planned],
    together: int,
    resources: Resources,
    variants: Sequence[str],
    look: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Run `trainer.measure` on the variants in so many processes at once; for each variant, the mean of them."""
    flats = json.dumps([_part_of(trial, resources) for trial in part])
    command = [sys.executable, "-m", "trainer.measure", "--threads", str(resources.threads)]
    command += ["--gpu"] if resources.gpus_per_trial else []
    command += ["--", flats, str(MEASURE_SECONDS), *variants]
    lines = _run_together(
        command, together, resources.threads, lambda said: look(min(said, len(part)))
    )  # the last is all
    answers = [json.loads(line) for line in lines]
    means = [_mean([answer[number] for answer in answers]) for number in range(len(part))]
    # alone it goes through all images, of which the trial's workers have a part each
    workers = resources.workers_per_trial
    return [{**mean, **{name: mean[name] / workers for name in PER_EPOCH}} for mean in means]


def _part_of(trial: Planned, resources: Resources) -> Flat:
    """What one worker of the trial computes, as a trial of its own: its part of the batch, without others to cut it with."""
    flat = trial.config.to_flat()
    if resources.workers_per_trial == 1:
        return flat
    return {**flat, "batch_size": trial.config.batch_size // resources.workers_per_trial, "zero_stage": 0}


def _run_together(command: Sequence[str], together: int, threads: int, look: Callable[[int], None]) -> list[str]:
    """The last line that each of so many equal processes prints; `look` hears how many lines came before it."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with ExitStack() as stack:
        children = []
        for _ in range(together):
            out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
            stack.callback(child.wait)
            stack.callback(child.kill)  # where another failed, or after Ctrl-C; does nothing to one that has ended
            children.append((child, out, err))
        running = True
        while running:
            running = any(child.poll() is None for child, _, _ in children)  # before the look: the last one sees all
            # not by seek, which would move the place at which the child writes
            look(min(os.pread(out.fileno(), 65536, 0).count(b"\n") for _, out, _ in children))
            if running:
                time.sleep(LOOK_SECONDS)
        lines = []
        for child, out, err in children:
            code = child.wait()
            for file in (out, err):
                file.seek(0)
            if code != 0:
                said = [line.strip() for line in err if line.strip()]
                reason = said[-1].removeprefix("Error: ").rstrip(".") if said else f"its process ended with code {code}"
                raise InputError(f"A variant cannot be trained here, so there is no preview: {reason}.")
            lines.append(out.read().splitlines()[-1])
    return lines


def _mean(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values = {name: statistics.fmean(each[name] for each in answers) for name in SECONDS}
    rest = {name: answers[0][name] for name in ("epochs", "compiled", "gpu_total_bytes")}
    memory = [each["gpu_memory_bytes"] for each in answers if each["gpu_memory_bytes"] is not None]
    return {**values, **rest, "gpu_memory_bytes": max(memory, default=None)}
