"""Which regions of a model are compiled apart, and what each is compiled on."""

import torch

from arch_space.model import ModelConfig
from trainer.compiled import _input_of, distinct_regions
from trainer.config import TrialConfig

SMALL = {"dim": 16, "heads": 1, "patch": 16, "dropout": 0.0, "precision": "fp32"}


def test_equal_blocks_are_one_region_and_the_last_block_is_another() -> None:
    model = ModelConfig.from_flat({**{k: SMALL[k] for k in ("dim", "heads", "patch")}, "depth": 4}).build()
    tokens, blocks, last = distinct_regions(model)
    assert tokens == [model.tokens]
    assert blocks == list(model.blocks[:3])
    assert last == [model.blocks[3]]


def test_a_region_is_compiled_on_what_the_model_gives_it() -> None:
    config = TrialConfig.from_flat({**SMALL, "depth": 3})
    model = config.model.build().eval()
    images = torch.randn(2, 3, 32, 32)
    seen = {}
    for block in model.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.setdefault(module, inputs[0]))
    model(images)
    for regions in distinct_regions(model)[1:]:
        assert torch.equal(_input_of(regions[0], model, images, config), seen[regions[0]])
    assert _input_of(model.tokens, model, images, config) is images
    assert all(len(block._forward_pre_hooks) == 1 for block in model.blocks)  # ours alone are left
