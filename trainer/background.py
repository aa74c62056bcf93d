"""Writing a checkpoint while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


def snapshot(value: Any) -> Any:
    """A copy of nested plain values and tensors, each tensor on its own device: training may change the originals."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: snapshot(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(inner) for inner in value)
    return value


def _to_host(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _to_host(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to_host(inner) for inner in value)
    return value


class Writer:
    """One job at a time in a thread of its own. What a job raises is raised by the next call of `wait`."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, content: Any, write: Callable[[Any], None]) -> None:
        """Copy `content`, then hand it to `write`, on the host and in the thread; waits for the job before it."""
        self.wait()
        copied = snapshot(content)
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream())

        def job() -> None:
            try:
                with torch.cuda.stream(
                    self._stream
                ):  # nothing on a CPU; copying to the host waits for this stream alone
                    on_host = _to_host(copied)
                write(on_host)
            except BaseException as error:  # noqa: BLE001  # it belongs to the thread that asked
                self._error = error

        self._thread = threading.Thread(target=job, name="arbor-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until the job is done. Raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
