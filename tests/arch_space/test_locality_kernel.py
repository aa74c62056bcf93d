"""Attention's own GPU kernel against torch's attention in double precision."""

import copy

import pytest
import torch

from arch_space.model import ModelConfig
from arch_space.vit_tiny import LocalitySelfAttention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
TOLERANCE = 1e-2
"""Relative, in the norm: bfloat16 keeps 8 bits (2e-3 to 5e-3 were seen)."""


def far(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("patches", [16, 64])
@pytest.mark.parametrize("heads", [1, 6])
@pytest.mark.parametrize("temperature", [0.02, 0.125, 1.0])
def test_the_kernel_computes_attention_and_its_gradients(patches, heads, temperature):
    generator = torch.Generator("cuda").manual_seed(patches + heads)
    attention = LocalitySelfAttention(64, heads, patches + 1, 0.0).cuda()
    with torch.no_grad():
        attention.log_temperature.fill_(temperature).log_()
    packed = torch.randn(5, patches + 1, 3 * heads * 64, generator=generator, device="cuda").bfloat16()
    upstream = torch.randn(5, patches + 1, heads * 64, generator=generator, device="cuda").bfloat16()

    def run(module, values, how):
        values = values.detach().requires_grad_()
        mixed = getattr(module, how)(values)
        gradients = torch.autograd.grad(mixed, (values, module.log_temperature), upstream.to(mixed.dtype))
        return mixed, *gradients

    exact = run(copy.deepcopy(attention).double(), packed.double(), "mix_plainly")
    for name, got, wanted in zip(
        ("output", "query, key, value", "temperature"), run(attention, packed, "mix"), exact, strict=True
    ):
        assert far(got, wanted) < TOLERANCE, name


def test_what_the_kernel_does_not_serve_goes_by_torch():
    for tokens, dtype in ((65, torch.float32), (37, torch.bfloat16)):
        attention = LocalitySelfAttention(64, 2, tokens, 0.0).cuda()
        packed = torch.randn(3, tokens, 3 * 2 * 64, device="cuda", dtype=dtype)
        assert torch.equal(attention.mix(packed), attention.mix_plainly(packed))


def test_a_model_trains_alike_with_and_without_the_kernel(monkeypatch):
    images = torch.randn(64, 3, 32, 32, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    labels = torch.arange(64, device="cuda") % 10
    torch.manual_seed(0)
    start = ModelConfig.from_flat({"dropout": 0.0, "depth": 2, "dim": 128}).build().cuda()

    def losses(use_kernel):
        monkeypatch.setattr(LocalitySelfAttention, "use_kernel", use_kernel)
        model = copy.deepcopy(start)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        said = []
        for _ in range(10):
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(images)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            said.append(loss.item())
        return said

    assert losses(True) == pytest.approx(losses(False), rel=0.02)
