"""How many paths rounding turns: counted against a model whose choices are known."""

import pytest
import torch
from torch import nn

from arch_space.ffn.fff_soft import FFFSoftConfig
from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from trainer.paths import turned_paths

CPU = torch.device("cpu")
IMAGES = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def model_of(ffn: FFFSoftConfig | None = None) -> nn.Module:
    flat = {} if ffn is None else {"ffn": ffn}
    model = ModelConfig(dim=24, depth=2, heads=1, patch=16, dropout=0.0, layout="pair", **flat).build()
    initialise(model, 0)
    return model.eval()


def test_a_model_without_trees_has_no_paths() -> None:
    assert turned_paths(model_of(), IMAGES, CPU, "fp32") is None


def test_float64_turns_no_path_and_every_path_is_counted() -> None:
    found = turned_paths(model_of(FFFSoftConfig(depth=3, leaf_width=2, trees=3)).double(), IMAGES.double(), CPU, "fp32")
    assert found is not None
    assert (found.same_inputs, found.whole_model) == (0, 0)
    # images, tokens of three feed-forwards and the one token of the last, trees
    assert (found.images, found.paths) == (6, 6 * (3 * 5 + 1) * 3)


def test_bfloat16_turns_some_paths_and_most_of_those_by_what_earlier_blocks_hand_on() -> None:
    found = turned_paths(model_of(FFFSoftConfig(depth=6, leaf_width=2, trees=8)), IMAGES, CPU, "bf16")
    assert found is not None
    assert 0 < found.same_inputs < found.whole_model < 0.5


@pytest.mark.parametrize("turned_by_hand", [0, 1])
def test_a_path_that_rounding_turns_is_found_where_it_is(turned_by_hand: int) -> None:
    """In the first of four feed-forwards z is (1 + 2^-10) - 1 for every token; in bfloat16, which has 8 bits, it is 0."""
    model = model_of(FFFSoftConfig(depth=1, leaf_width=2))
    with torch.no_grad():
        for block in model.blocks:
            for ffn in (block.ffn_before, block.ffn):
                ffn.gate_weight.zero_()
                ffn.gate_bias.fill_(1.0)
        if turned_by_hand:
            norm, ffn = model.blocks[0].ffn_before_norm, model.blocks[0].ffn_before
            norm.weight.zero_()
            norm.bias.zero_()
            norm.bias[0] = 1.0
            ffn.gate_weight[0, 0] = 1 + 2**-10
            ffn.gate_bias.fill_(-1.0)
    found = turned_paths(model, IMAGES, CPU, "bf16")
    assert found is not None
    assert (
        found.same_inputs == found.whole_model == turned_by_hand * 5 / 16
    )  # of its tokens; the last feed-forward has one
