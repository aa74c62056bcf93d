"""A model built for its shapes has those of the real one."""

import pytest
import torch

from arch_space.model import ModelConfig
from arch_space.registry import FFN
from arch_space.shapes_only import FEW, shapes_only


def forms(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: (tensor.shape, tensor.dtype) for name, tensor in named}


@pytest.mark.parametrize("numbers", [FEW, FEW + 1])
@pytest.mark.parametrize("kind", FFN.kinds())
def test_shapes_are_those_of_the_real_model_and_no_random_number_is_drawn(kind, numbers):
    config = ModelConfig.from_flat({"ffn": kind, "dim": 64, "depth": 2, "layout": "pair"})
    before = torch.get_rng_state()
    with shapes_only(numbers):
        model = config.build()
    assert torch.equal(torch.get_rng_state(), before)
    assert forms(model) == forms(config.build())


def test_a_model_that_would_not_fit_into_memory_takes_none():
    config = ModelConfig.from_flat({"dim": 65_536, "ffn.mlp.hidden": 2**20})
    with shapes_only(config.ffn.parameters(config.dim)):
        module = config.ffn.build(config.dim, 0.0)
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
