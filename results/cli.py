"""How every command of Arbor ends: its exit code, and one clear sentence where a person can mend something."""

from __future__ import annotations

import errno
import gc
import sys
from typing import NoReturn, cast

import typer

from results.errors import DatabaseGoneError, InputError
from results.text import plain

DEFAULT_STORAGE = "sqlite:///runs/arbor.db"
"""Where every command keeps and finds results, unless told otherwise."""
EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130

_MISUSE = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])
"""What typer raises for an option that does not exist, a word where a number should be, an argument that is missing."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}


def run(app: typer.Typer, prog: str) -> None:
    """Run a typer app: exit 2 after bad input, a full disk, a place that cannot be written to or a database that stays
    away, 130 after Ctrl-C.

    Anything else that is raised is a bug of ours and keeps its traceback.
    """
    try:
        code = app(prog_name=prog, standalone_mode=False)
    except _MISUSE as error:
        said = error.format_message().replace("Value error, ", "")  # what the parser's own library puts before a reason
        _end(f"{said.rstrip('.')}; see {prog} --help.", EXIT_BAD_INPUT)
    except (InputError, DatabaseGoneError) as error:
        _end(str(error), EXIT_BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):  # Abort: Ctrl-C or Ctrl-D where a question was asked
        _end("Interrupted.", EXIT_INTERRUPTED)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            _end(f"The disk is full{place}; make space and run the command again.", EXIT_BAD_INPUT)
        if error.errno in _UNUSABLE and error.filename:
            _end(f"The place {error.filename} cannot be used ({error.strerror}); name another one.", EXIT_BAD_INPUT)
        raise
    finally:
        gc.freeze()  # nobody looks for cycles among torch's objects at the end: 0.7 s of every command that imports it
    sys.exit(code or 0)  # of typer.Exit; none where the command returned


def _end(message: str, code: int) -> NoReturn:
    said = plain(message)  # it may quote what somebody else wrote into the store
    print(f"Error: {said}" if code == EXIT_BAD_INPUT else said, file=sys.stderr)
    sys.exit(code)
