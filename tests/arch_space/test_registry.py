"""Kinds are found by being there: in the package's folder or in a folder of one's own."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from arch_space.cost import cost
from arch_space.model import ModelConfig
from arch_space.registry import FFN

VARIANT = '''
"""A gate alone (https://example.org/paper)."""

from dataclasses import dataclass
from typing import ClassVar
from torch import nn
from arch_space.registry import FFN

@FFN.register("{kind}")
@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    widths: ClassVar[tuple[str, ...]] = ()
    bias: bool = False

    @classmethod
    def suggest(cls, scope):
        return cls(bias=scope.categorical("bias", [False, True]))

    def build(self, dim, dropout):
        return nn.Linear(dim, dim, bias=self.bias)

    def parameters(self, dim):
        return dim * dim + dim * self.bias

    def neurons_used(self, dim):
        return None

    def macs(self, dim, tokens):
        return tokens * dim * dim

    macs_conditional = macs
'''


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kinds that a test adds are gone after it."""
    FFN.kinds()
    monkeypatch.setattr(FFN, "_configs", dict(FFN._configs))
    monkeypatch.setattr(FFN, "_discovered", set())
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("arbor_variant_"):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_kinds_of_the_package_are_found_without_a_list() -> None:
    folder = Path(FFN.source("mlp")).parent
    registering = [file for file in folder.glob("*.py") if "@FFN.register(" in file.read_text(encoding="utf-8")]
    assert {"mlp", "fff"} <= set(FFN.kinds())
    assert {Path(FFN.source(kind)) for kind in FFN.kinds()} == set(registering)
    assert list(FFN.kinds()) == sorted(FFN.kinds())


@pytest.mark.parametrize("kind", FFN.kinds())
def test_the_docstring_of_a_kind_s_file_names_its_source(kind: str) -> None:
    docstring = sys.modules[FFN.config(kind).__module__].__doc__ or ""
    assert re.search(r"arXiv \d{4}\.\d{4,5}|https?://|doi|IEEE", docstring), f"{FFN.source(kind)} names no paper"


def test_a_file_in_a_folder_of_one_s_own_becomes_a_kind_that_builds_is_priced_and_round_trips(tmp_path: Path) -> None:
    file = write(tmp_path, "gate.py", VARIANT.format(kind="gate"))
    write(tmp_path, "_draft.py", "raise RuntimeError('not meant to be read')")
    write(tmp_path, "notes.txt", "not Python")

    assert FFN.discover(tmp_path) == ("gate",)
    assert FFN.discover(tmp_path) == ()  # again: nothing new, no complaint
    assert "gate" in FFN.kinds()
    assert FFN.source("gate") == str(file)

    flat = {"ffn": "gate", "ffn.gate.bias": "true", "dim": 8, "heads": 1, "depth": 2, "patch": 16}
    config = ModelConfig.from_flat(flat)
    assert ModelConfig.from_flat(config.to_flat()) == config
    assert cost(config).neurons_used is None
    assert cost(config).parameters == sum(parameter.numel() for parameter in config.build().parameters())
    assert config.build()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"^Unknown key 'ffn\.gate\.bia'; did you mean 'ffn\.gate\.bias'\?$"):
        ModelConfig.from_flat({"ffn": "gate", "ffn.gate.bia": True})


def test_one_file_can_be_named_instead_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "other.py", VARIANT.format(kind="other"))
    assert FFN.discover(write(tmp_path, "gate.py", VARIANT.format(kind="gate"))) == ("gate",)
    assert "other" not in FFN.kinds()


def test_a_name_that_is_taken_is_refused_with_both_files(tmp_path: Path) -> None:
    before = FFN.config("mlp")
    file = write(tmp_path, "mine.py", VARIANT.format(kind="mlp"))
    with pytest.raises(ValueError, match="must be registered once") as raised:
        FFN.discover(tmp_path)
    assert str(file) in str(raised.value)
    assert FFN.source("mlp") in str(raised.value)
    assert FFN.config("mlp") is before


def test_a_broken_file_says_its_own_error_and_adds_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, "gate.py", VARIANT.format(kind="gate") + "\n1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        FFN.discover(tmp_path)
    assert "gate" not in FFN.kinds()
    file.write_text(VARIANT.format(kind="gate"), encoding="utf-8")  # mended
    assert FFN.discover(tmp_path) == ("gate",)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("    macs_conditional = macs\n", "", "but lacks macs_conditional"),
        ("    widths: ClassVar[tuple[str, ...]] = ()\n", "", "but lacks widths"),
        ("...]] = ()", '...]] = ("bias", "width")', "fields with an integer as default, but bias, width is none"),
        ("bias: bool = False", "bias: bool", "must have a default, but bias has none"),
        ("frozen=True, ", "", "must be a frozen dataclass, but GateConfig is not"),
        ('"gate"', '"Gate.2"', "must be a lower-case identifier, but got 'Gate.2'"),
    ],
)
def test_a_config_that_lacks_a_part_is_refused_when_it_registers(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    text = VARIANT.format(kind="gate")
    assert old in text
    write(tmp_path, "gate.py", text.replace(old, new))
    with pytest.raises(ValueError, match=sentence):
        FFN.discover(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a folder or a Python file, but .* does not exist"):
        FFN.discover(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must be a Python file, but got"):
        FFN.discover(write(tmp_path, "notes.txt", "not Python"))


def test_an_unknown_kind_is_refused_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ValueError, match=r"^Unknown feed-forward kind 'mpl'; did you mean 'mlp'\? Known: .*fff, .*mlp"):
        FFN.config("mpl")
    with pytest.raises(ValueError, match=r"^Unknown feed-forward kind 'qqqq'; known: "):
        FFN.config("qqqq")


def test_a_config_of_no_registered_class_has_no_kind(tmp_path: Path) -> None:
    FFN.discover(write(tmp_path, "gate.py", VARIANT.format(kind="gate")))
    gate = FFN.config("gate")()
    assert FFN.kind_of(gate) == FFN.kind_of(type(gate)) == "gate"
    del FFN._configs["gate"]
    with pytest.raises(ValueError, match="GateConfig must be registered as a feed-forward kind; known: "):
        FFN.kind_of(gate)
