"""Execution forms are set by name on the modules that list them."""

import pytest
from torch import Tensor, nn

from arch_space.execution import executing, executions_of, set_execution


class Two(nn.Module):
    executions = ("dense", "conditional")

    def __init__(self) -> None:
        super().__init__()
        self.execution = self.executions[0]

    def forward(self, x: Tensor) -> Tensor:
        return x if self.execution == "dense" else -x


class Three(Two):
    executions = ("dense", "conditional", "soft")


def test_a_form_is_set_on_the_modules_that_list_it_and_on_no_other() -> None:
    model = nn.Sequential(Two(), nn.Linear(2, 2), nn.Sequential(Three()))
    assert executions_of(model) == ("dense", "conditional", "soft")
    set_execution(model, "soft")
    assert [module.execution for module in model.modules() if isinstance(module, Two)] == ["dense", "soft"]
    assert not hasattr(model[1], "execution")
    with executing(model, "conditional"):
        assert [module.execution for module in model.modules() if isinstance(module, Two)] == ["conditional"] * 2
    assert [module.execution for module in model.modules() if isinstance(module, Two)] == ["dense", "soft"]


def test_a_form_that_no_module_lists_is_refused_with_the_forms_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"must be one of dense, conditional, but got 'soft'"):
        set_execution(nn.Sequential(Two()), "soft")
    plain = nn.Sequential(nn.Linear(2, 2))
    assert executions_of(plain) == ()
    with pytest.raises(ValueError, match=r"cannot be chosen for a model without such forms, but got 'dense'"):
        set_execution(plain, "dense")
