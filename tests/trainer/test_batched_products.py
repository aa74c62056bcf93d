"""Products of small matrices by Triton against torch's in double precision."""

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]
ROUNDED = 4e-3
"""Relative, in the norm: one rounding to bfloat16."""


def random(*shape, seed):
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(*shape, generator=generator, device="cuda").bfloat16()


@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(384, 512, 384), (128, 64, 128), (3, 5, 7), (130, 200, 257), (1, 1, 1)]
)
def test_products_are_those_of_double_precision(rows, inner, columns):
    from trainer.batched_products import multiply

    left, right = random(5, rows, inner, seed=0), random(5, inner, columns, seed=1)
    added = random(5, rows, columns, seed=2)
    exact = torch.baddbmm(added.double(), left.double(), right.double(), beta=0.5, alpha=2.0)
    got = multiply(left, right, added=added, beta=0.5, alpha=2.0)
    assert got.dtype == torch.bfloat16
    assert got.is_contiguous()
    assert (got.double() - exact).norm() <= ROUNDED * exact.norm()
    alone = multiply(left, right)
    assert (alone.double() - left.double() @ right.double()).norm() <= ROUNDED * (left.double() @ right.double()).norm()


def test_factors_may_lie_in_any_way():
    from trainer.batched_products import multiply

    wide = random(4, 40, 200, seed=3)
    left, right = wide[:, :33, 10:150], wide[:, :33, 10:150].mT
    added = random(33, 33, 4, seed=4).permute(2, 1, 0)
    exact = added.double() + left.double() @ right.double()
    got = multiply(left, right, added=added)
    assert (got.double() - exact).norm() <= ROUNDED * exact.norm()
    assert torch.equal(got, multiply(left.contiguous(), right.contiguous(), added=added.contiguous()))
