"""Waiting for a database that is gone for a while: restarted, cut off, or locked by another process.

Only errors of the connection are waited for. A broken rule of the tables, a full disk or a damaged file is raised at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

from results.errors import DatabaseGoneError

T = TypeVar("T")
P = ParamSpec("P")

WAIT_SECONDS = 600.0
"""How long a database may be gone: a restart or an upgrade fits, and a night is not lost in silence."""
LONGEST_PAUSE_SECONDS = 5.0
_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
_CONNECTION = ("08", "57P")
"""Beginnings of SQLSTATE: connection exceptions, and a server that shuts down, crashed or does not yet accept any."""


def passes(error: DBAPIError) -> bool:
    """Whether the same statements may succeed a moment later, over a new connection."""
    if error.connection_invalidated:
        return True
    original: Any = error.orig
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (_SQLITE_BUSY, _SQLITE_LOCKED)  # the lower byte: the rest says of which sort
    state = getattr(original, "sqlstate", None)
    if state is not None:
        return bool(state.startswith(_CONNECTION))
    # a server that cannot be reached says nothing, so there is no state either
    return isinstance(error, OperationalError) and hasattr(original, "sqlstate")


def patiently(work: Callable[[bool], T], place: str, say: Callable[[str], None]) -> T:
    """The result of `work`, tried again while the database is gone.

    Args:
        work: a whole transaction. It is told whether it was tried before: where the connection broke in its commit,
            nobody knows whether that took effect, and it must look.
        place: the database, in words.
        say: gets one sentence when waiting begins, and one when it ends.
    Raises:
        DatabaseGoneError: it did not come back within WAIT_SECONDS.
    """
    began = 0.0
    tries = 0
    while True:
        try:
            result = work(tries > 0)
        except DBAPIError as error:
            if not passes(error):
                raise
            reason = str(error.orig).strip().splitlines()[0].rstrip(".")
            began = began or time.monotonic()
            tries += 1
            if time.monotonic() - began > WAIT_SECONDS:
                raise DatabaseGoneError(
                    f"The database {place} did not come back within {WAIT_SECONDS:.0f} s ({reason}); what was committed "
                    "is there: run the command again, a search with --resume, when it is back."
                ) from error
            if tries == 1:
                continue  # a connection kept since before a restart: a new one is enough, and nobody need know
            if tries == 2:
                say(f"The database {place} is gone ({reason}); waiting for it up to {WAIT_SECONDS:.0f} s.")
            time.sleep(min(0.1 * 2 ** (tries - 2), LONGEST_PAUSE_SECONDS))
            continue
        if tries > 1:
            say(f"The database {place} is back after {time.monotonic() - began:.1f} s; nothing was lost.")
        return result


def patient(method: Callable[P, T]) -> Callable[P, T]:
    """A store's method that may be called twice in place of once, waiting for the database (see `patiently`)."""

    @wraps(method)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
        store: Any = args[0]
        return patiently(lambda again: method(*args, **kwargs), store.place, store.say)

    return waiting


def to_stderr(sentence: str) -> None:
    """Beside the output: stdout may be JSON that another program reads."""
    print(sentence, file=sys.stderr, flush=True)
