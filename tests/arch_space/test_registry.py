"""Kinds are found, not listed; names are unique; files from outside join them."""

import pytest

from arch_space.model import ModelConfig
from arch_space.registry import Registry
from arch_space.space import RandomScope, prefixed

KIND = '''"""A copy of one Linear (arXiv 0000.00000)."""
from dataclasses import dataclass
from torch import nn
from arch_space.registry import FFN

@FFN.register("{name}")
@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One Linear."""
    width: int = 3

    @classmethod
    def suggest(cls, scope):
        return cls(width=scope.int("width", 1, 9))

    def build(self, dim, dropout):
        return nn.Linear(dim, dim)

    def parameters(self, dim):
        return dim * dim + dim

    @property
    def neurons_used(self):
        return self.width

    def macs(self, dim, tokens):
        return tokens * dim * dim

    def macs_conditional(self, dim, tokens):
        return self.macs(dim, tokens)
'''


@pytest.fixture
def registry(monkeypatch):
    """A registry of the test's own with the package's kinds, so that what a test adds is gone after it."""
    import arch_space.registry as module

    fresh = Registry("feed-forward", "arch_space.ffn")
    fresh._configs = dict(module.FFN._configs)
    fresh._found = True
    for place in ("arch_space.registry", "arch_space.model"):
        monkeypatch.setattr(f"{place}.FFN", fresh)
    return fresh


def test_a_kind_in_a_file_outside_the_package_is_found_and_builds_in_the_model(registry, tmp_path):
    (tmp_path / "one.py").write_text(KIND.format(name="outsider"))
    assert registry.discover(tmp_path) == ("outsider",)
    config = ModelConfig.from_flat({"ffn": "outsider", "ffn.outsider.width": "5", "dim": 8})
    assert config.to_flat()["ffn.outsider.width"] == 5
    assert config.build() is not None
    assert registry.discover(tmp_path) == (), "a file is imported once"


def test_a_name_that_is_taken_is_refused_with_both_files_and_leaves_the_registry_whole(registry, tmp_path):
    (tmp_path / "mine.py").write_text(KIND.format(name="mlp"))
    before = registry.kinds()
    with pytest.raises(ValueError, match=r"'mlp' must be registered once.*mlp\.py.*mine\.py"):
        registry.discover(tmp_path)
    assert registry.kinds() == before


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("frozen=True", "frozen=False", "must be a frozen dataclass"),
        ("def parameters", "def count", "but lacks parameters"),
        ("width: int = 3", "width: int", "must have a default, but width has none"),
        ('"{name}"', '"Not A Name"', "must be a lower-case identifier"),
    ],
)
def test_an_incomplete_kind_is_refused_with_what_it_lacks(registry, tmp_path, old, new, sentence):
    (tmp_path / "half.py").write_text(KIND.replace(old, new).format(name="half"))
    with pytest.raises(ValueError, match=sentence):
        registry.discover(tmp_path)


def test_an_unknown_kind_is_refused_with_the_nearest():
    from arch_space.registry import FFN

    with pytest.raises(ValueError, match="did you mean 'fff'"):
        FFN.config("ffff")


def test_a_prefixed_scope_asks_under_the_full_name():
    scope = RandomScope(0)
    value = prefixed(scope, "ffn.mlp.").int("hidden", 8, 64, log=True)
    assert scope.drawn == {"ffn.mlp.hidden": value}
    assert 8 <= value <= 64
