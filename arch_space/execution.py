"""Execution forms: the ways in which a feed-forward may be computed at inference, from the same weights.

A module's class lists them as `executions: tuple[str, ...]`, the default first, and its instances have `execution: str`.
In evaluation mode `forward` follows `execution`; training always takes the training form. Names in use:

    dense        every node computed, the path selected by a mask
    conditional  the visited rows alone
    soft         the mixture of all leaves (kinds that are trained by it)
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def executions_of(model: nn.Module) -> tuple[str, ...]:
    """The forms that any module of the model lists, defaults first; empty where no module has a choice."""
    forms = (form for module in model.modules() for form in getattr(module, "executions", ()))
    return tuple(dict.fromkeys(forms))


def reported_executions(model: nn.Module) -> tuple[str, ...]:
    """The forms that classes name in `reported_executions`, whose accuracy is worth a column beside the default's."""
    forms = (form for module in model.modules() for form in getattr(module, "reported_executions", ()))
    return tuple(dict.fromkeys(forms))


def set_execution(model: nn.Module, form: str) -> None:
    """Have every module that lists `form` compute by it in evaluation mode; the others stay as they are.

    Raises ValueError, naming the forms that there are, where no module lists it.
    """
    forms = executions_of(model)
    if form not in forms:
        known = f"must be one of {', '.join(forms)}" if forms else "cannot be chosen for a model without such forms"
        raise ValueError(f"The execution form {known}, but got {form!r}.")
    for module in model.modules():
        if form in getattr(module, "executions", ()):
            module.execution = form  # type: ignore[assignment]  # a plain attribute, no parameter


@contextmanager
def executing(model: nn.Module, form: str) -> Iterator[None]:
    """Within it the model computes by `form`; afterwards every module computes as before. Raises as `set_execution`."""
    before = [(module, module.execution) for module in model.modules() if getattr(module, "executions", ())]
    set_execution(model, form)
    try:
        yield
    finally:
        for module, execution in before:
            module.execution = execution
