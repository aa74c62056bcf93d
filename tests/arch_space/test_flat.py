"""The flat codec: what is written is read back, and what cannot be read is refused in one sentence."""

import dataclasses
import pickle
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch_space.flat import (
    FieldError,
    convert,
    field_keys,
    from_flat,
    parse_assignments,
    refuse_unknown,
    require,
    require_between,
    to_flat,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A config with a field of every type the codec knows."""

    depth: int = 7
    ratio: float = 1.0
    hard: bool = True
    partner: str = "mlp"
    choice: Literal["hard", "weighted"] = "hard"
    fanout: Literal[2, 4] = 2
    patience: int | None = None

    def __post_init__(self) -> None:
        require_between("depth", self.depth, 1, 20)
        require(self.ratio > 0, "ratio", "must be above 0", self.ratio)


trees = st.builds(
    Tree,
    depth=st.integers(1, 20),
    ratio=st.floats(1e-300, 1e300),
    hard=st.booleans(),
    partner=st.text(),
    choice=st.sampled_from(["hard", "weighted"]),
    fanout=st.sampled_from([2, 4]),
    patience=st.none() | st.integers(),
)


@given(trees)
def test_what_is_written_is_read_back(tree: Tree) -> None:
    flat = to_flat(tree, "ffn.tree.")
    assert (
        set(flat) == field_keys(Tree, "ffn.tree.") == {f"ffn.tree.{field.name}" for field in dataclasses.fields(Tree)}
    )
    assert from_flat(Tree, flat, "ffn.tree.") == tree


@given(trees)
def test_text_from_a_command_line_reads_as_the_value_it_spells(tree: Tree) -> None:
    assert from_flat(Tree, {key: str(value) for key, value in to_flat(tree).items()}) == tree


def test_absent_keys_take_the_default_and_other_prefixes_are_not_read() -> None:
    assert from_flat(Tree, {"ffn.tree.depth": 3, "depth": 9, "ffn.other.depth": "no number"}, "ffn.tree.") == Tree(
        depth=3
    )


def test_numpy_scalars_become_plain_python_values() -> None:
    flat = {"depth": np.int64(3), "ratio": np.float32(0.5), "hard": np.bool_(False), "partner": np.str_("glu")}
    tree = from_flat(Tree, flat)
    assert tree == Tree(depth=3, ratio=0.5, hard=False, partner="glu")
    assert [type(value) for value in to_flat(tree).values()][:3] == [int, float, bool]


@pytest.mark.parametrize(
    ("annotation", "value", "rule"),
    [
        (int, True, "must be an integer"),
        (int, 1.5, "must be an integer"),
        (int, "1e3", "must be an integer"),
        (int, "", "must be an integer"),
        (int, None, "must be an integer"),
        (int, [1], "must be an integer"),
        (float, "nan", "must be a finite number"),
        (float, float("inf"), "must be a finite number"),
        (float, True, "must be a finite number"),
        (float, 10**400, "must be a finite number"),
        (float, "fast", "must be a finite number"),
        (bool, 1, "must be true or false"),
        (bool, "yes", "must be true or false"),
        (str, 3, "must be text"),
        (Literal["hard", "weighted"], "soft", "must be one of hard, weighted"),
        (Literal[2, 4], "3", "must be one of 2, 4"),
        (int | None, "five", "must be an integer, or none"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_key_the_rule_and_the_value(
    annotation: Any, value: object, rule: str
) -> None:
    with pytest.raises(FieldError) as raised:
        convert(annotation, value, "ffn.tree.depth")
    assert str(raised.value) == f'"ffn.tree.depth" {rule}, but got {value!r}.'
    assert raised.value.field == "ffn.tree.depth"


def test_a_value_out_of_range_is_refused_with_its_full_key() -> None:
    for depth, rule in ((0, "must be at least 1"), ("21", "must be at most 20")):
        with pytest.raises(FieldError) as raised:
            from_flat(Tree, {"ffn.tree.depth": depth}, "ffn.tree.")
        assert str(raised.value) == f'"ffn.tree.depth" {rule}, but got {int(depth)}.'
    with pytest.raises(FieldError, match=r'^"ratio" must be above 0, but got 0\.0\.$'):
        Tree(ratio=0.0)


def test_a_field_error_survives_the_way_between_processes() -> None:
    error = FieldError("depth", "must be at least 1", 0)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.field, again.value) == (str(error), "depth", 0)


def test_a_type_that_the_codec_does_not_know_is_the_author_s_mistake() -> None:
    for annotation in (list[int], int | str | None):
        with pytest.raises(TypeError, match='no rule for field "sizes"'):
            convert(annotation, [1], "sizes")


def test_an_unknown_key_is_refused_with_the_nearest_known_one_or_with_the_list() -> None:
    known = {"dim", "ffn.fff.depth"}
    refuse_unknown(["dim"], known)
    with pytest.raises(ValueError, match=r"^Unknown key 'ffn\.fff\.dept'; did you mean 'ffn\.fff\.depth'\?$"):
        refuse_unknown(["dim", "ffn.fff.dept"], known)
    with pytest.raises(ValueError, match=r"^Unknown key 'zzz'; known: dim, ffn\.fff\.depth\.$"):
        refuse_unknown(["zzz"], known)


def test_assignments_are_split_at_the_first_equals_sign_and_given_once() -> None:
    assert parse_assignments(["dim=256", " note = a=b "]) == {"dim": "256", "note": "a=b"}
    for wrong in (["dim"], ["=256"], [""]):
        with pytest.raises(ValueError, match=r"written KEY=VALUE, as in dim=256, but got"):
            parse_assignments(wrong)
    with pytest.raises(ValueError, match=r'^"dim" must be given once, but got \'1\' and \'2\'\.$'):
        parse_assignments(["dim=1", "dim=2"])
