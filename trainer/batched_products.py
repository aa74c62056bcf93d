"""Products of many small matrices at once on a GPU, by one Triton kernel.

cuBLAS (13.0, driver 580) computes such a batch by a persistent kernel of clusters of eight blocks
(`nvjet_sm90_tst_128x192_64x5_4x2_h_bx_coopB_NNN`), which stops with an illegal instruction, within half a minute or so,
where several processes share the card by turns: just what a search does with several trials on a GPU (results/LOG.md,
2026-11-29). This kernel has no clusters.

Imported on first use on a GPU alone: Triton does not come with torch's build for CPUs.
"""

import triton
import triton.language as tl
from torch import Tensor

TILE = 128
"""Rows and columns of the product that one program computes."""
DEPTH = 64
"""Columns of the first factor that it reads at a time."""


@triton.jit  # type: ignore[untyped-decorator]
def _multiply(  # type: ignore[no-untyped-def]
    left, right, added, product, rows, columns, inner, beta, alpha,
    left_0, left_1, left_2, right_0, right_1, right_2, added_0, added_1, added_2, product_0, product_1,
    ADDS: tl.constexpr, TILE: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    across = tl.cdiv(columns, TILE)
    tile, matrix = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = (tile // across) * TILE + tl.arange(0, TILE)
    column = (tile % across) * TILE + tl.arange(0, TILE)
    step = tl.arange(0, DEPTH)
    is_row, is_column = row < rows, column < columns
    a = left + matrix * left_0 + row[:, None] * left_1 + step[None, :] * left_2
    b = right + matrix * right_0 + step[:, None] * right_1 + column[None, :] * right_2
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for done in range(0, inner, DEPTH):
        is_step = step < inner - done
        x = tl.load(a, mask=is_row[:, None] & is_step[None, :], other=0.0)
        y = tl.load(b, mask=is_step[:, None] & is_column[None, :], other=0.0)
        total = tl.dot(x, y, total)
        a += DEPTH * left_2
        b += DEPTH * right_1
    total *= alpha
    inside = is_row[:, None] & is_column[None, :]
    if ADDS:
        place = added + matrix * added_0 + row[:, None] * added_1 + column[None, :] * added_2
        total += beta * tl.load(place, mask=inside, other=0.0).to(tl.float32)
    to = product + matrix * product_0 + row[:, None] * product_1 + column[None, :]
    tl.store(to, total.to(product.dtype.element_ty), mask=inside)


def multiply(
    left: Tensor, right: Tensor, *, added: Tensor | None = None, beta: float = 1.0, alpha: float = 1.0
) -> Tensor:
    """beta `added` + alpha `left` @ `right`, as `torch.baddbmm`, summed in float32.

    Args:
        left: (n, r, k) on a GPU, of any strides, as all of these.
        right: (n, k, c), of the same type.
        added: (n, r, c); none adds nothing.
    Returns:
        (n, r, c), contiguous, of `left`'s type.
    """
    count, rows, inner = left.shape
    columns = right.shape[2]
    product = left.new_empty(count, rows, columns)
    more = product if added is None else added
    tiles = triton.cdiv(rows, TILE) * triton.cdiv(columns, TILE)
    _multiply[(tiles, count)](
        left, right, more, product, rows, columns, inner, beta, alpha,
        *left.stride(), *right.stride(), *more.stride(), product.stride(0), product.stride(1),
        ADDS=added is not None, TILE=TILE, DEPTH=DEPTH, num_warps=8, num_stages=3,
    )  # fmt: skip
    return product
