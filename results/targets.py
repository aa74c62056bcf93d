"""The file that a command writes and a user named: never written over unasked, and named where it cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.errors import InputError


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raises InputError where a file of this name would be lost; /dev/null or a pipe loses nothing."""
    if path.is_file() and not force:
        raise InputError(f"The file {path} exists, so it is not written over; name another, or say --force.")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes `path`, or a temporary file in its place: an error of the operating system names `path`.

    Raises:
        InputError: no such file or directory, which is what /proc answers, or a folder that was removed meanwhile. Elsewhere
            that error keeps its traceback (`results.cli`), for a command that misses a file of its own has a bug.
        OSError: any other.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a library's own words
            raise
        if error.errno == errno.ENOENT:
            raise InputError(
                f"The place {path} cannot be used ({os.strerror(error.errno)}); name another one."
            ) from error
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
