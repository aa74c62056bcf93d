"""A trial's dictionary made complete, or refused before anything of it is in a store."""

import pytest

from results.errors import InputError
from trainer.resolve import resolve

TINY = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1}


@pytest.fixture(autouse=True)
def _data(digits):
    """The session's packed digits."""


def test_the_data_decide_classes_and_image_size_and_the_machine_the_precision():
    config = resolve(TINY, on_gpu=False)
    assert (config.model.classes, config.model.image_size, config.precision) == (10, 32, "fp32")
    assert resolve(TINY, on_gpu=True).precision == "bf16"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 3}, "The data set decides \"classes\", but got classes=3 where 'digits' has 10"),
        ({"batch_size": 2000}, '"batch_size" must be at most the number of training images'),
        ({"ffn": "csc", "ffn.csc.fanin": 64, "ffn.csc.hidden": 16}, '"ffn.csc.fanin" must be at most'),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        resolve({**TINY, **changes}, on_gpu=False)


def test_a_kind_whose_formula_of_parameters_is_wrong_is_refused(miscounted):
    with pytest.raises(InputError, match="kind 'miscounted' must be what its module has, but got 3 a module"):
        resolve({**TINY, "ffn": miscounted}, on_gpu=False)
