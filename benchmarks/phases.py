"""Where the time of a training step goes: seconds that kernels run in each of its phases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.profiler import ProfilerActivity, profile, record_function

from arch_space.auxiliary import with_auxiliary
from benchmarks.work import initialised_engine
from trainer import compiled
from trainer.config import TrialConfig
from trainer.input_pipeline import Batch
from trainer.optimizer import set_rate
from trainer.step import smoothed_cross_entropy

PHASES = ("forward", "backward", "clipping", "update")
WARM_STEPS = 5
STEPS = 10
SLOWEST = 12


def phase_seconds(config: TrialConfig, batch: Batch, device: torch.device) -> dict[str, Any]:
    """Mean seconds a step, with all its micro-batches, spends in each phase, and the kernels that take longest.

    On a GPU the sum of the durations of its kernels: launches, which a recorded step does not pay for, are left out. The
    host waits for the device after each phase, so that a kernel belongs to the phase in whose time it runs. On a CPU the
    time of the phase.
    """
    engine = initialised_engine(config, device)
    model, criterion = engine.module, smoothed_cross_entropy(config.label_smoothing)
    on_gpu = device.type == "cuda"
    if on_gpu and config.compile:
        compiled.compile_regions(model)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def forward() -> torch.Tensor:
        return with_auxiliary(criterion(engine(batch.images), batch.labels), model)

    def step() -> None:
        set_rate(engine.optimizer, config.lr)
        for _ in range(config.accumulation):
            loss = _within("forward", device, forward)
            _within("backward", device, partial(engine.backward, loss))
            if config.clip_norm and engine.is_gradient_accumulation_boundary():
                _within("clipping", device, lambda: clip_grad_norm_(parameters, config.clip_norm, foreach=on_gpu))
            _within("update", device, engine.step)

    model.train()
    for _ in range(WARM_STEPS):
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as profiled:
        for _ in range(STEPS):
            step()
    engine.destroy()
    events = profiled.events() or []
    spans = [
        (event.name, event.time_range) for event in events if event.name in PHASES and event.device_type.name == "CPU"
    ]
    seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
    kernels: dict[str, float] = defaultdict(float)
    if not on_gpu:
        for name, span in spans:
            seconds[name] += span.elapsed_us() / 1e6 / STEPS
        return seconds
    for event in events:
        if event.device_type.name != "CUDA" or event.is_user_annotation:
            continue  # spans of `record_function`, ours and torch.optim's, are listed among the kernels that they hold
        phase = next((name for name, span in spans if span.start <= event.time_range.start <= span.end), None)
        if phase is not None:
            took = event.time_range.elapsed_us() / 1e6 / STEPS
            seconds[phase] += took
            kernels[f"{phase}: {event.name[:90]}"] += took
    slowest = sorted(kernels.items(), key=lambda item: -item[1])[:SLOWEST]
    return {**seconds, "kernels": dict(slowest)}


def _within(phase: str, device: torch.device, work: Callable[[], Any]) -> Any:
    with record_function(phase):
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return result
