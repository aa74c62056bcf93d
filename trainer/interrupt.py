"""Ctrl-C and SIGTERM that cannot get lost: noted by the handler, raised where the training can bear it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_DEFAULTS: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
"""What each is taken over from; a handler that somebody else has put in place stays."""


@contextmanager
def ctrl_c_between_steps() -> Iterator[Callable[[], None]]:
    """Gives a function to call between steps, which raises KeyboardInterrupt if Ctrl-C or SIGTERM has come by then.

    Python raises it at whatever line it happens to be: in a destructor, a weak reference's callback or below a bare
    `except` of a library it is swallowed, and the training goes on. A second Ctrl-C raises it at once, as ever; a second
    SIGTERM does not, since `timeout` sends two together. Where SIGINT is ignored, as a shell has it for a job in the
    background, it stays so; outside the main thread nothing changes.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came = True

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number, default in _DEFAULTS.items() if is_main and signal.getsignal(number) == default]
    try:
        for number in taken:
            signal.signal(number, note)
        yield check
    finally:
        for number in taken:
            signal.signal(number, _DEFAULTS[number])
