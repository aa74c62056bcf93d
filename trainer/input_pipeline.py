"""The input of training and evaluation, by NVIDIA DALI; the same code on CPU and GPU.

The split's uint8 array lies in the memory of the device. For each batch its rows are gathered there and handed to
DALI, with the windows, flips and holes that numpy drew (trainer/augment.py); DALI cuts, resizes, erases, flips and
normalises, some batches ahead of their use (trainer/dali_stream.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from results.errors import InputError
from trainer.augment import draw
from trainer.dali_stream import Batch, Order, Stream
from trainer.dataset import Header, Split
from trainer.ranks import ALONE, Ranks

__all__ = ["Batch", "EvalLoader", "TrainLoader"]

KEPT_BYTES = 2**30
"""Of evaluation images, normalised, that may stay in a GPU's memory: 61 MB for 5,000 of 32x32."""


class TrainLoader:
    """Batches of training, epoch after epoch, in the order and with the augmentation that (seed, epoch) alone decide.

    Args:
        dataset: whose mean, deviation, image size and flip rule apply.
        batch_size: images of a batch; the remainder of an epoch is dropped (other images every epoch).
        steps: batches of an epoch, if less than `len(split) // batch_size`.
        augment: a name in `trainer.augment.AUGMENTATIONS`.
        start_epoch: the first epoch that `epoch()` gives, counted from 1.
        threads: DALI's CPU threads; the bytes do not depend on it.
        ranks: each gets its part of every batch, so that together they see what one alone would see.
    Raises:
        InputError: fewer images than one batch, or than `steps` batches.
    """

    def __init__(
        self,
        split: Split,
        *,
        dataset: Header,
        batch_size: int,
        augment: str,
        seed: int,
        device: torch.device,
        start_epoch: int = 1,
        threads: int = 1,
        steps: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        most = len(split) // batch_size
        self._steps = most if steps is None else steps
        if not 1 <= self._steps <= most:
            raise InputError(
                f"An epoch must have from 1 to images // batch_size batches, but got {self._steps} "
                f"(images={len(split)}, batch_size={batch_size})."
            )
        share = ranks.share(batch_size)
        self._stream = Stream(
            split,
            self._orders(len(split), dataset, batch_size, share, augment, seed, start_epoch),
            dataset=dataset,
            batch_size=share.stop - share.start,
            augment=augment,
            training=True,
            device=device,
            threads=threads,
        )
        self._left = 0

    @property
    def steps_per_epoch(self) -> int:
        return self._steps

    def epoch(self) -> Iterator[Batch]:
        """The batches of the next epoch. An epoch that was left in the middle is over: its rest is skipped."""
        for _ in range(self._left):
            self._stream.next()
        self._left = self._steps
        while self._left:
            self._left -= 1
            yield self._stream.next()

    def close(self) -> None:
        """Free the pipeline and its copy of the data."""
        self._stream.close()

    def _orders(
        self, images: int, dataset: Header, batch_size: int, share: slice, augment: str, seed: int, epoch: int
    ) -> Iterator[Order]:
        """Without end: the next epoch is begun while the last batches of this one are in use."""
        while True:
            draws = draw(augment, seed, epoch, images=images, header=dataset)
            places = self._stream.to_device(draws.order)
            for start in range(0, self._steps * batch_size, batch_size):
                part = slice(start + share.start, start + share.stop)
                drawn = (None if each is None else each[part] for each in (draws.windows, draws.flips, draws.holes))
                yield Order(places[part], *drawn)
            epoch += 1


class EvalLoader:
    """Every image of a split once, in order, the last batch short; as often as it is iterated. Nothing is augmented.

    On a GPU the batches of the first whole pass are kept for the later ones, up to `KEPT_BYTES`.

    Args: as of `TrainLoader`; `augment` decides only the normalisation, and `ranks` gives each a part of the split.
    """

    def __init__(
        self,
        split: Split,
        *,
        dataset: Header,
        batch_size: int,
        augment: str,
        device: torch.device,
        threads: int = 1,
        ranks: Ranks = ALONE,
    ) -> None:
        share = ranks.share(len(split))
        images = share.stop - share.start
        self._batches = -(-images // batch_size)
        self._stream = Stream(
            split,
            self._orders(share, batch_size),
            dataset=dataset,
            batch_size=min(batch_size, images),
            augment=augment,
            training=False,
            device=device,
            threads=threads,
        )
        self._left = 0
        self._keeps = device.type == "cuda" and 4 * split.images.size <= KEPT_BYTES
        self._kept: list[Batch] = []

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        if self._kept:
            yield from self._kept
            return
        for _ in range(self._left):  # of a pass that was left in the middle
            self._stream.next()
        self._left = self._batches
        batches = []
        while self._left:
            self._left -= 1
            batch = self._stream.next()
            if self._keeps:
                batches.append(batch)
            yield batch
        if self._keeps:
            self._kept = batches
            self._stream.close()

    def close(self) -> None:
        """Free the pipeline and its copy of the data."""
        self._kept = []
        self._keeps = False
        self._stream.close()

    def _orders(self, share: slice, batch_size: int) -> Iterator[Order]:
        index = self._stream.to_device(np.arange(share.start, share.stop))
        while True:
            for start in range(0, len(index), batch_size):
                yield Order(index[start : start + batch_size])
