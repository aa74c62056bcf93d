"""Seconds between points of work on a device, without waiting for it."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Points in the device's queue on a GPU, in the host's time on a CPU, where work is done when the call returns."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._points: list[float | torch.cuda.Event] = []

    def mark(self) -> None:
        """Here the next interval begins."""
        if not self._on_gpu:
            self._points.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._points.append(event)

    def intervals(self) -> list[float]:
        """Seconds between the marks, in order. Waits for the last one."""
        last = self._points[-1]
        if isinstance(last, torch.cuda.Event):
            last.synchronize()
        return [
            a.elapsed_time(b) / 1000 if isinstance(a, torch.cuda.Event) else b - a  # type: ignore[arg-type,operator]
            for a, b in zip(self._points, self._points[1:], strict=False)
        ]
