"""Cuts the images of a source into train, val and test: stratified, and a function of the labels and a seed alone."""

from __future__ import annotations

import numpy as np

VAL_SHARE = 0.10
"""Of the source's training part; CIFAR-10: 5,000 of 50,000."""
TEST_SHARE = 0.15
"""Of all images, where the source has no test part."""


def cut(labels: np.ndarray, shares: tuple[float, ...], seed: int) -> list[np.ndarray]:
    """Indices into `labels` (N,) as sorted, disjoint arrays that cover all: the rest first, then one for each share.

    Every class gives each share `round(share * its images)`, at least 1: exactly equal parts of classes of equal size.
    A class needs one image more than there are shares. Drawn by `default_rng(seed)`, class after class in order.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(len(shares) + 1)]
    for label in range(int(labels.max()) + 1):
        members = rng.permutation(np.flatnonzero(labels == label))
        start = 0
        for part, share in zip(parts[1:], shares, strict=True):
            count = max(1, round(share * len(members)))
            part.append(members[start : start + count])
            start += count
        parts[0].append(members[start:])
    return [np.sort(np.concatenate(part)).astype(np.int64) for part in parts]
