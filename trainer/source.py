"""What every reader of a source gives: images and labels of its parts, before they are split and packed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One part of a source."""

    images: np.ndarray
    """(N, S, S, 3) uint8."""
    labels: np.ndarray
    """(N,) int64."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A source, read. Without `val`, it is cut out of `train`; without `test`, that too."""

    classes: tuple[str, ...]
    train: Part
    description: str
    val: Part | None = None
    test: Part | None = None
