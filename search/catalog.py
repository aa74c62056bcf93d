"""Finding experiments: by name in `experiments/`, or by the path of a file of one's own."""

from __future__ import annotations

import importlib.util
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from results.errors import InputError
from search.experiment import Experiment
from search.timing import Timing
from trainer.single import SINGLE

LONGEST = 100
"""Bytes of an experiment's name: with numbers, host and keys beside it, names of files stay below 255."""


def names() -> list[str]:
    """All experiments that come with the package, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_folder())]))


def load(name_or_path: str) -> Experiment:
    """As `find`, for what trains.

    Raises:
        InputError: also for a timing.
    """
    found = find(name_or_path)
    if isinstance(found, Timing):
        raise InputError(f"{found.name!r} times and trains nothing, so it has no trials; name another experiment.")
    return found


def find(name_or_path: str) -> Experiment | Timing:
    """The experiment of that name, or in that file: what the function with the file's name returns.

    Raises:
        InputError: no such experiment or file, or the file does not define one.
    """
    if name_or_path.endswith(".py") or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise InputError(f"There is no experiment file at {name_or_path!r}.")
    else:
        found = names()
        if name_or_path not in found:
            near = get_close_matches(name_or_path, found, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(found)}."
            raise InputError(f"Unknown experiment {name_or_path!r}; {hint}")
        path = _folder() / f"{name_or_path}.py"
    _require_name(path)
    module = _import(path)
    function = getattr(module, path.stem, None)
    if not inspect.isfunction(function):
        raise InputError(f"The file {path} must define a function {path.stem}() that returns an Experiment.")
    experiment = _call(function, path)
    if not isinstance(experiment, Experiment | Timing):
        raise InputError(
            f"{path.stem}() in {path} must return an Experiment, but returned {type(experiment).__name__}."
        )
    question = " ".join((inspect.getdoc(function) or "").split())
    if not question:
        raise InputError(f"{path.stem}() in {path} needs a docstring: the question that the experiment answers.")
    return replace(experiment, name=path.stem, question=question)


def _require_name(path: Path) -> None:
    """Raises InputError where the searches of an experiment could not be named after its file."""
    if path.stem == SINGLE:
        raise InputError(
            f"An experiment cannot be called {SINGLE!r}, as the trials of trainer.run are; rename {path} and its function."
        )
    if len(os.fsencode(path.stem)) > LONGEST:
        raise InputError(
            f"The name of an experiment must have at most {LONGEST} bytes, since folders and processes are named after it, "
            f"but {path.stem!r} has {len(os.fsencode(path.stem))}; rename the file and its function."
        )


def _folder() -> Path:
    """Where the package's experiments lie; found without importing them, since imports go down only."""
    spec = importlib.util.find_spec("experiments")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"arbor_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"The experiment {path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a file may be a script that ends the process
        raise InputError(f"The experiment {path} could not be loaded: {said(error)}") from error
    return module


def _call(function: Callable[[], object], path: Path) -> object:
    try:
        return function()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{path.stem}() in {path} must return an Experiment, but raised {said(error)}{_hint(error)}"
        ) from error


def _hint(error: BaseException) -> str:
    """What to write in place of a field that an Experiment does not have; nothing for other errors."""
    unknown = re.search(r"Experiment\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if unknown is None:
        return ""
    known = [
        each.name for each in fields(Experiment) if each.name not in ("name", "question")
    ]  # of the file, not given
    near = get_close_matches(unknown[1], known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; an Experiment has {', '.join(known)}."


def said(error: BaseException) -> str:
    """What the code of an experiment raised, and which of its lines our call of it had reached, in one line."""
    frame = error.__traceback__.tb_next if error.__traceback__ is not None else None
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith("<"):  # of Python's own import
        frame = frame.tb_next
    place = f" ({Path(frame.tb_frame.f_code.co_filename).name}, line {frame.tb_lineno})" if frame is not None else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place
