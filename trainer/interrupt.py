"""Ctrl-C that cannot get lost: noted by the handler, raised where the training can bear it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ctrl_c_between_steps() -> Iterator[Callable[[], None]]:
    """Gives a function to call between steps, which raises KeyboardInterrupt if Ctrl-C has come by then.

    Python raises it at whatever line it happens to be: in a destructor, a weak reference's callback or below a bare
    `except` of a library it is swallowed, and the training goes on. A second Ctrl-C raises it at once, as ever. Where
    SIGINT is ignored, as a shell has it for a job in the background, or outside the main thread, nothing changes.
    """
    came = False
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    if before is not signal.default_int_handler:
        yield check
        return
    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread
        yield check
        return
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
