"""The flat codec: a frozen dataclass to and from `{"ffn.fff.depth": 7, ...}`; errors name rule, value and way out.

A configuration is a frozen, keyword-only dataclass whose fields are int, float, bool, str, `Literal[...]` or one of
these `| None`. Values may come as themselves, as numpy scalars or as text from a command line; they are converted
to the annotated type, or refused in one sentence with the full key.
"""

import contextlib
import dataclasses
import difflib
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

Scalar: TypeAlias = int | float | str | bool | None
Config = TypeVar("Config")


class FieldError(ValueError):
    """A field breaks its rule: `"hidden" must be at least 1, but got 0.`"""

    def __init__(self, field: str, rule: str, value: object) -> None:
        super().__init__(f'"{field}" {rule}, but got {value!r}.')
        self.field = field
        """Name of the field (or the full key, once a prefix is known)."""
        self.rule = rule
        """What must hold, as in "must be at least 1"."""
        self.value = value

    def __reduce__(self) -> tuple[type["FieldError"], tuple[str, str, object]]:
        return FieldError, (self.field, self.rule, self.value)  # exceptions cross process borders by pickle

    def under(self, prefix: str) -> "FieldError":
        """The same error with the field's full key."""
        return FieldError(prefix + self.field, self.rule, self.value)


def require(condition: bool, field: str, rule: str, value: object) -> None:
    """Raises FieldError unless `condition` holds; for `__post_init__`."""
    if not condition:
        raise FieldError(field, rule, value)


def require_between(field: str, value: float, low: float, high: float) -> None:
    """Raises FieldError unless low <= value <= high, naming the end that was overrun."""
    require(value >= low, field, f"must be at least {low}", value)
    require(value <= high, field, f"must be at most {high}", value)


def convert(annotation: Any, value: object, key: str) -> Any:
    """`value` as the annotated type. Raises FieldError with `key` where that would lose or invent something."""
    if getattr(value, "shape", None) == ():  # a numpy scalar
        value = value.item()  # type: ignore[attr-defined]
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _convert_optional(annotation, value, key)
    if origin is Literal:
        choices = get_args(annotation)
        for choice in choices:
            try:
                if convert(type(choice), value, key) == choice:
                    return choice
            except FieldError:
                pass  # not of this choice's type: another may fit
        raise FieldError(key, f"must be one of {', '.join(map(str, choices))}", value)
    converters = {int: _convert_int, float: _convert_float, bool: _convert_bool, str: _convert_str}
    if annotation not in converters:
        raise TypeError(f'The flat codec has no rule for field "{key}" of type {annotation}.')
    return converters[annotation](value, key)


def _convert_optional(annotation: Any, value: object, key: str) -> Any:
    inner = [option for option in get_args(annotation) if option is not types.NoneType]
    if len(inner) != 1:
        raise TypeError(f'The flat codec has no rule for field "{key}" of type {annotation}.')
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    try:
        return convert(inner[0], value, key)
    except FieldError as error:
        raise FieldError(key, f"{error.rule}, or none", value) from None


def _convert_int(value: object, key: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    raise FieldError(key, "must be an integer", value)


def _convert_float(value: object, key: str) -> float:
    number = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise FieldError(key, "must be a finite number", value)
    return number


def _convert_bool(value: object, key: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise FieldError(key, "must be true or false", value)


def _convert_str(value: object, key: str) -> str:
    if isinstance(value, str):
        return value
    raise FieldError(key, "must be text", value)


def read_fields(
    cls: type[Any], flat: Mapping[str, object], prefix: str = "", skip: Iterable[str] = ()
) -> dict[str, Any]:
    """The converted values of those fields of `cls` that `flat` has under `prefix`; fields in `skip` are left alone."""
    hints = get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.init and field.name not in skip]
    return {name: convert(hints[name], flat[prefix + name], prefix + name) for name in names if prefix + name in flat}


def from_flat(cls: type[Config], flat: Mapping[str, object], prefix: str = "") -> Config:
    """An instance of `cls` from the keys `prefix + field`; other keys are not looked at, absent ones take the default.

    Raises FieldError (a ValueError) naming the full key, the rule and the value.
    """
    values = read_fields(cls, flat, prefix)
    try:
        return cls(**values)
    except FieldError as error:
        raise error.under(prefix) from None


def to_flat(config: Any, prefix: str = "", skip: Iterable[str] = ()) -> dict[str, Scalar]:
    """Every field under `prefix + name`, defaults included, so that a row stays true when a default changes."""
    fields = [field.name for field in dataclasses.fields(config) if field.name not in skip]
    return {prefix + name: getattr(config, name) for name in fields}


def field_keys(cls: type[Any], prefix: str = "", skip: Iterable[str] = ()) -> set[str]:
    """The keys that `from_flat(cls, ..., prefix)` reads."""
    return {prefix + field.name for field in dataclasses.fields(cls) if field.init and field.name not in skip}


def refuse_unknown(keys: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for the first key that is not known, with the nearest known one or else the whole list."""
    names = sorted(known)
    for key in keys:
        if key not in names:
            raise ValueError(unknown("key", key, names))


def unknown(what: str, name: object, known: Sequence[str]) -> str:
    """`Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?`, or the list of what there is."""
    near = difflib.get_close_matches(str(name), known, n=1)
    way_out = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    return f"Unknown {what} {name!r}; {way_out}"


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """`["dim=256", "ffn=fff"]` as a flat dictionary of text. Raises ValueError without "=" or for a key given twice."""
    flat: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"Settings are written KEY=VALUE, as in dim=256, but got {assignment!r}.")
        if key.strip() in flat:
            raise ValueError(f'"{key.strip()}" must be given once, but got {flat[key.strip()]!r} and {value!r}.')
        flat[key.strip()] = value.strip()
    return flat
