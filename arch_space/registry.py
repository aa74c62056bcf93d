"""The registry of feed-forward kinds: one file each in `arch_space/ffn/`, found without being listed anywhere.

@FFN.register("mlp")
@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig: ...
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from torch import nn

from arch_space.flat import unknown
from arch_space.space import Scope


class FeedForwardConfig(Protocol):
    """What every kind's config offers. All fields have defaults; their names are its keys `ffn.<kind>.<field>`."""

    widths: ClassVar[tuple[str, ...]]
    """Integer fields that a fair comparison may vary until the kind is as large as another, coarse first, such as
    ("trees", "dense_rows"). Parameters, neurons and multiply-adds must not fall as one grows."""

    @classmethod
    def suggest(cls, scope: Scope) -> Self:
        """A config drawn from the kind's own search space."""
        ...

    def build(self, dim: int, dropout: float) -> nn.Module:
        """A module (B, T, dim) -> (B, T, dim). Modules that own parameters have `reset_parameters()`.

        It may declare `idle_parameters: frozenset[str]`, its own parameters that a gradient may not reach, and
        `forward_conditional(x)`, the form that computes only what an input visits. It may add to the training loss
        (`arch_space.auxiliary`) and list several forms for inference (`arch_space.execution`).
        """
        ...

    def parameters(self, dim: int) -> int:
        """Number of parameters of the module."""
        ...

    def neurons_used(self, dim: int) -> int | None:
        """Neurons that one token uses in one module of width `dim`; None where that is not defined."""
        ...

    def macs(self, dim: int, tokens: int) -> int:
        """Multiply-adds of the matrix products of one forward pass over `tokens` tokens, as trained."""
        ...

    def macs_conditional(self, dim: int, tokens: int) -> int:
        """The same of the conditional form; equal to `macs` where there is none."""
        ...


_REQUIRED = ("widths", "suggest", "build", "parameters", "neurons_used", "macs", "macs_conditional")
ConfigType = TypeVar("ConfigType", bound=type[Any])


class Registry:
    """Kinds by name. Siblings in `package` are imported at first use; further files by `discover`."""

    def __init__(self, what: str, package: str) -> None:
        self._what = what
        self._package = package
        self._configs: dict[str, type[FeedForwardConfig]] = {}
        self._found = False
        self._discovered: set[Path] = set()

    def register(self, kind: str) -> Callable[[ConfigType], ConfigType]:
        """Decorator of a frozen config dataclass. Raises ValueError for a name taken, or a config that lacks a part."""

        def add(cls: ConfigType) -> ConfigType:
            if not re.fullmatch("[a-z][a-z0-9_]*", kind):
                raise ValueError(f"A {self._what} kind must be a lower-case identifier, but got {kind!r}.")
            if kind in self._configs:
                raise ValueError(
                    f"The {self._what} kind {kind!r} must be registered once, "
                    f"but both {self.source(kind)} and {_file(cls)} register it; rename one."
                )
            _check_config(kind, cls)
            self._configs[kind] = cls
            return cls

        return add

    def kinds(self) -> tuple[str, ...]:
        """The names of all kinds, sorted."""
        self._find_siblings()
        return tuple(sorted(self._configs))

    def config(self, kind: str) -> type[FeedForwardConfig]:
        """The config class of a kind. Raises ValueError for an unknown one, with the nearest, the list and the mend."""
        kinds = self.kinds()
        if kind not in self._configs:
            message = unknown(f"{self._what} kind", kind, kinds)
            listed = message if "known: " in message else f"{message} Known: {', '.join(kinds)}."
            raise ValueError(f"{listed} One of your own needs --variants PATH.")
        return self._configs[kind]

    def kind_of(self, config: FeedForwardConfig | type[FeedForwardConfig]) -> str:
        """The name under which a config (or its class) is registered. Raises ValueError if it is not."""
        cls = config if isinstance(config, type) else type(config)
        for kind in self.kinds():
            if self._configs[kind] is cls:
                return kind
        raise ValueError(f"{cls.__name__} must be registered as a {self._what} kind; known: {', '.join(self.kinds())}.")

    def source(self, kind: str) -> str:
        """The file in which a kind is defined."""
        return _file(self._configs[kind])

    @property
    def discovered(self) -> tuple[Path, ...]:
        """The files that `discover` has imported in this process, for another process that needs the same kinds."""
        return tuple(sorted(self._discovered))

    def discover(self, path: str | Path) -> tuple[str, ...]:
        """Imports a file, or every `*.py` of a folder but those starting with "_"; returns the kinds that they added.

        What was discovered before is not imported again. Raises ValueError for a missing path or a name that is taken;
        an error inside a file comes through as it is, and that file then adds nothing.
        """
        place = Path(path).resolve()
        if not place.exists():
            raise ValueError(f"The variants' path must be a folder or a Python file, but {str(path)!r} does not exist.")
        before = set(self.kinds())
        files = sorted(place.glob("*.py")) if place.is_dir() else [place]
        for file in files:
            if not file.name.startswith("_") and file not in self._discovered:
                self._import(file)
                self._discovered.add(file)
        return tuple(sorted(set(self._configs) - before))

    def _import(self, file: Path) -> None:
        before = dict(self._configs)
        name = f"arbor_variant_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ValueError(f"A variant must be a Python file, but got {str(file)!r}.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses and pickle look a class's module up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            self._configs = before
            raise

    def _find_siblings(self) -> None:
        if self._found:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        self._found = True


def _check_config(kind: str, cls: type[Any]) -> None:
    """A variant's author learns here, in one sentence, what the contract suite would say later."""
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise ValueError(f"The config of kind {kind!r} must be a frozen dataclass, but {cls.__name__} is not.")
    missing = [name for name in _REQUIRED if not hasattr(cls, name)]
    if missing:
        raise ValueError(
            f"The config of kind {kind!r} must have {', '.join(_REQUIRED)}, but lacks {', '.join(missing)}."
        )
    without = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if without:
        raise ValueError(f"Every field of kind {kind!r} must have a default, but {', '.join(without)} has none.")
    _check_widths(kind, cls)


def _check_widths(kind: str, cls: type[Any]) -> None:
    integers = [field.name for field in dataclasses.fields(cls) if type(field.default) is int]
    strange = [name for name in cls.widths if name not in integers]
    if strange:
        raise ValueError(
            f"The widths of kind {kind!r} must be fields with an integer as default, but {', '.join(strange)} is none."
        )


def _file(cls: type[Any]) -> str:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):  # typed into an interpreter or a notebook
        return f"module {cls.__module__}"


FFN = Registry("feed-forward", "arch_space.ffn")
"""The feed-forward kinds."""
