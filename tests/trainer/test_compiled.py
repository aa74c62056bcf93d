"""Which regions of a model are compiled apart, and what each is compiled on."""

import pickle
from collections.abc import Callable

import torch

from arch_space.model import ModelConfig
from trainer.compile_region import input_form
from trainer.compiled import distinct_regions
from trainer.config import TrialConfig

SMALL = {"dim": 16, "heads": 1, "patch": 16, "dropout": 0.0, "precision": "fp32"}


def test_equal_blocks_are_one_region_and_the_last_block_is_another() -> None:
    model = ModelConfig.from_flat({**{k: SMALL[k] for k in ("dim", "heads", "patch")}, "depth": 4}).build()
    tokens, blocks, last = distinct_regions(model)
    assert tokens == [model.tokens]
    assert blocks == list(model.blocks[:3])
    assert last == [model.blocks[3]]


def test_a_region_is_compiled_on_input_of_the_form_that_the_model_gives_it() -> None:
    config = TrialConfig.from_flat({**SMALL, "depth": 3})
    model = config.model.build()
    seen: dict[torch.nn.Module, torch.Tensor] = {}
    for part in (model.tokens, *model.blocks):
        part.register_forward_pre_hook(lambda module, inputs: seen.setdefault(module, inputs[0]))
    model(torch.randn(2, 3, 32, 32))
    for number, (first, *_) in enumerate(distinct_regions(model)):
        form, real = input_form(config, number, 2, torch.device("cpu")), seen[first]
        assert (form.shape, form.stride(), form.dtype) == (real.shape, real.stride(), real.dtype)
        assert form.requires_grad == real.requires_grad == (number > 0)


KEY = """
import sys, types
first = types.ModuleType("first")
if sys.argv[1] == "late":  # torch is imported by a module that is loaded already, and has it as a global
    sys.modules["first"] = first
import torch
first.torch = torch
if sys.argv[2] == "ours":
    import trainer.compiled
from torch._inductor.codecache import FxGraphCachePickler
empty = torch.fx.GraphModule(torch.nn.Module(), torch.fx.Graph())
print(FxGraphCachePickler(empty).dumps([torch.contiguous_format, torch.channels_last, torch.float32, torch.strided]).hex())
"""


def test_torch_finds_compiled_code_again_whoever_imported_torch_first(fresh_python: Callable[..., str]) -> None:
    # else torch has mended it, and we need not
    assert fresh_python("-c", KEY, "early", "torchs") != fresh_python("-c", KEY, "late", "torchs")
    assert fresh_python("-c", KEY, "early", "ours") == fresh_python("-c", KEY, "late", "ours")


def test_a_memory_format_is_what_it_was_after_pickling() -> None:
    for form in (torch.contiguous_format, torch.channels_last, torch.preserve_format):
        assert pickle.loads(pickle.dumps(form)) is form
