"""The model's configuration: flat and back, and every wrong value refused in one sentence."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arch_space.ffn.fff import FFFConfig
from arch_space.ffn.mlp import MLPConfig
from arch_space.model import ModelConfig


def test_the_defaults_are_those_of_the_baseline() -> None:
    assert ModelConfig().to_flat() == {
        "dim": 512,
        "depth": 4,
        "heads": 6,
        "patch": 4,
        "layout": "single",
        "dropout": 0.1,
        "classes": 10,
        "image_size": 32,
        "ffn": "mlp",
        "ffn.mlp.hidden": 256,
        "ffn.mlp.activation": "gelu",
    }
    assert ModelConfig.from_flat({}) == ModelConfig()
    assert FFFConfig() == FFFConfig(depth=7, trees=1, dense_rows=0)


def test_the_flat_form_holds_the_active_kind_s_keys_only() -> None:
    flat = ModelConfig.from_flat({"ffn": "fff"}).to_flat()
    assert {key for key in flat if key.startswith("ffn")} == {
        "ffn",
        "ffn.fff.depth",
        "ffn.fff.trees",
        "ffn.fff.dense_rows",
        "ffn.fff.level_lr_ratio",
        "ffn.fff.level_lr_equal_mean",
    }
    assert set(flat) == ModelConfig.keys({"ffn": "fff"})


@given(
    st.builds(
        ModelConfig,
        dim=st.integers(1, 2048),
        depth=st.integers(1, 12),
        heads=st.integers(1, 16),
        patch=st.sampled_from([1, 2, 4, 8, 16, 32]),
        layout=st.sampled_from(["single", "pair"]),
        dropout=st.floats(0, 0.99),
        classes=st.integers(2, 1000),
        ffn=st.builds(
            MLPConfig, hidden=st.integers(1, 4096), activation=st.sampled_from(["gelu", "relu", "squared_relu"])
        )
        | st.builds(FFFConfig, depth=st.integers(0, 12), trees=st.integers(1, 64), dense_rows=st.integers(0, 64)),
    )
)
def test_any_configuration_survives_the_flat_dictionary_text_and_pickling(config: ModelConfig) -> None:
    flat = config.to_flat()
    assert ModelConfig.from_flat(flat) == config
    assert ModelConfig.from_flat({key: str(value) for key, value in flat.items()}) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_keys_that_are_not_the_model_s_are_left_to_others() -> None:
    assert ModelConfig.from_flat({"lr": 1e-3, "seed": 0, "dim": 64}) == ModelConfig(dim=64)


@pytest.mark.parametrize(
    ("flat", "sentence"),
    [
        ({"image_size": 32, "patch": 5}, 'The image size must divide by "patch", but got (image_size=32, patch=5).'),
        ({"dim": 0}, '"dim" must be at least 1, but got 0.'),
        ({"dim": "wide"}, "\"dim\" must be an integer, but got 'wide'."),
        ({"dim": 10**9}, '"dim" must be at most 65536, but got 1000000000.'),
        ({"depth": 0}, '"depth" must be at least 1, but got 0.'),
        ({"heads": -1}, '"heads" must be at least 1, but got -1.'),
        ({"patch": 0}, '"patch" must be at least 1, but got 0.'),
        ({"classes": 1}, '"classes" must be at least 2, but got 1.'),
        ({"image_size": 0}, '"image_size" must be at least 1, but got 0.'),
        ({"dropout": 1}, '"dropout" must be at least 0 and below 1, but got 1.0.'),
        ({"dropout": "nan"}, "\"dropout\" must be a finite number, but got 'nan'."),
        ({"layout": "triple"}, "\"layout\" must be one of single, pair, but got 'triple'."),
        ({"ffn": 3}, '"ffn" must be text, but got 3.'),
        ({"ffn.mlp.hidden": 0}, '"ffn.mlp.hidden" must be at least 1, but got 0.'),
        ({"ffn": "fff", "ffn.fff.depth": 1.5}, '"ffn.fff.depth" must be an integer, but got 1.5.'),
        ({"ffn": "fff", "ffn.fff.dept": 3}, "Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?"),
        ({"ffn.fff.dept": 3}, "Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?"),
        (
            {"ffn.fff.depth": 3},
            (
                "Key 'ffn.fff.depth' belongs to the feed-forward kind 'fff', but the active kind is 'mlp'; "
                "set ffn=fff or leave the key out."
            ),
        ),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(flat: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        ModelConfig.from_flat(flat)


def test_an_unknown_kind_is_refused_before_its_keys_are_read() -> None:
    for call in (ModelConfig.from_flat, ModelConfig.keys):
        with pytest.raises(ValueError, match=r"^Unknown feed-forward kind 'ff'; did you mean 'fff'\?"):
            call({"ffn": "ff", "ffn.ff.depth": 3})
