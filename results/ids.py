"""Ids that one can type: a search `quickstart-1` is an experiment and a number, its seventh trial `quickstart-1.7`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from results.errors import InputError
from results.opening import parsed_url

Claim = Callable[[str], bool]
"""Whether a new search may have this id; what it says yes to is taken."""
IN_ORDER = frozenset({"search", "trial"})
"""What is made one after the other, so that there are latest ones; of anything else every name is listed."""


def variant_hash(config: Mapping[str, object]) -> str:
    """10 hex digits that name a variant: its flat dictionary without the seed."""
    plain = {key: value for key, value in config.items() if key != "seed"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence that refuses a name, with the nearest one that exists; else the latest ones, or all without an order."""
    listed = list(known)
    near = get_close_matches(name, listed, n=1, cutoff=0.5)
    if near:
        return f"Unknown {what} {name!r}; did you mean {near[0]!r}?"
    if not listed:
        return f"Unknown {what} {name!r}; there is none yet."
    if IN_ORDER.isdisjoint(re.findall(r"\w+", what)):
        return f"Unknown {what} {name!r}; known: {', '.join(listed)}."
    return f"Unknown {what} {name!r}; the latest are {', '.join(listed[-5:])}."


def runs_folder(url: str) -> Path:
    """Where run folders go: beside an SQLite database, else `runs/` here. Raises InputError: a malformed URL."""
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Path(parsed.database).resolve().parent
    return Path("runs").resolve()


def make_run_folder(folder: Path) -> None:
    """Make a run folder, to be called before there is a row that names it. Raises InputError where a file is in its way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"The run folder {folder} must be a folder, but a file is in its way; move that, or name another storage."
        ) from error


def any_number(search_id: str) -> bool:
    """The claim of a search without run folders."""
    return True


class FolderClaim:
    """The claim of a search whose run folders are to be its own: an id that has a folder already is another's.

    Two databases in one folder, or one that was made anew where an older one was deleted, count from 1 each. With a shared
    folder one would train on from the other's checkpoints, and overwrite them.

    Args:
        bases: where the search has a folder of its name; made if they are not there.
    """

    def __init__(self, *bases: Path) -> None:
        self._bases = tuple(dict.fromkeys(bases))
        self._mine: set[str] = set()
        self.passed_over: list[Path] = []
        """The folders of others."""

    def __call__(self, search_id: str) -> bool:
        """Raises InputError where a file is in the way of a base."""
        if search_id in self._mine:  # a transaction that is tried again
            return True
        made: list[Path] = []
        for base in self._bases:
            make_run_folder(base)
            try:
                (base / search_id).mkdir()  # one process gets it
            except FileExistsError:
                self.passed_over.append(base / search_id)
                for folder in made:
                    folder.rmdir()
                return False
            made.append(base / search_id)
        self._mine.add(search_id)
        return True
