"""How every command of Arbor ends: its exit code, and one clear sentence where a person can mend something."""

from __future__ import annotations

import errno
import sys

import typer

from results.errors import InputError

DEFAULT_STORAGE = "sqlite:///runs/arbor.db"
"""Where every command keeps and finds results, unless told otherwise."""
EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130


def run(app: typer.Typer, prog: str) -> None:
    """Run a typer app: exit 2 after bad input or a full disk, 130 after Ctrl-C.

    Anything else that is raised is a bug of ours and keeps its traceback.
    """
    try:
        app(prog_name=prog)
    except InputError as error:
        _end(str(error), EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        _end("Interrupted.", EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        place = f" ({error.filename})" if error.filename else ""
        _end(f"The disk is full{place}; make space and run the command again.", EXIT_BAD_INPUT)


def _end(message: str, code: int) -> None:
    print(f"Error: {message}" if code == EXIT_BAD_INPUT else message, file=sys.stderr)
    sys.exit(code)
