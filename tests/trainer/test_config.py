"""The flat dictionary: what comes in is checked, what goes out is complete."""

import pytest

from results.errors import InputError
from trainer.config import TrialConfig, parse_pairs


def test_a_flat_dictionary_survives_the_round_trip_with_every_value_written():
    flat = TrialConfig.from_flat({"ffn": "fff", "ffn.fff.depth": "3", "lr": "2e-3", "patience": "none"}).to_flat()
    assert flat["ffn.fff.depth"] == 3
    assert flat["ffn.fff.trees"] == 1
    assert flat["lr"] == 2e-3
    assert flat["patience"] is None
    assert flat["batch_size"] == 512
    assert not any(key.startswith("ffn.mlp") for key in flat)
    assert TrialConfig.from_flat(flat).to_flat() == flat


@pytest.mark.parametrize(
    ("flat", "sentence"),
    [
        ({"ffn.fff.dept": 3}, "Unknown key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?"),
        ({"warmup_epoch": 1}, "Unknown key 'warmup_epoch'; did you mean 'warmup_epochs'?"),
        ({"epochs": 0}, '"epochs" must be at least 1, but got 0.'),
        ({"epochs": "many"}, "epochs"),
        ({"lr": "nan"}, "lr"),
        ({"lr": 0}, '"lr" must be above 0'),
        ({"batch_size": 100, "accumulation": 3}, 'The batch size must divide by "accumulation"'),
        ({"warmup_epochs": 31}, 'The warm-up must be from 0 to "epochs"'),
        ({"image_size": 32, "patch": 5}, 'The image size must divide by "patch", but got (image_size=32, patch=5).'),
        ({"ffn": "mpl"}, "mlp"),
        ({"augment": "mixup"}, "crop_resized"),
        ({"patience": 0}, '"patience" must be at least 1 or none, but got 0.'),
        ({"ffn": "mlp", "ffn.fff.depth": 3}, "active kind is 'mlp'"),
        ({"seed": -1}, '"seed" must be from 0'),
        ({"zero_stage": 3}, '"zero_stage" must be 0, 1 or 2'),
        ({"zero_stage": 1, "optimizer": "muon"}, "(zero_stage=1, optimizer=muon"),
        ({"zero_stage": 2, "ffn": "fff", "ffn.fff.level_lr_ratio": 0.5}, "optimizer=adamw, level_lr_ratio=0.5)"),
    ],
)
def test_bad_values_get_one_sentence(flat, sentence):
    with pytest.raises(InputError) as caught:
        TrialConfig.from_flat(flat)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pairs", [["lr"], ["=3"], ["lr=1", "lr=2"]])
def test_words_that_are_no_pairs_are_refused(pairs):
    with pytest.raises(InputError):
        parse_pairs(pairs)


def test_zero_stage_leaves_the_variants_of_rows_from_before_it_as_they_are():
    plain = TrialConfig().to_flat()
    assert "zero_stage" not in plain
    assert TrialConfig.from_flat({**plain, "zero_stage": 0}).to_flat() == plain
    cut = TrialConfig(zero_stage=2).to_flat()
    assert cut == {**plain, "zero_stage": 2}
    assert TrialConfig.from_flat(cut).zero_stage == 2
