"""Named augmentations: what is drawn for each image of an epoch. Drawn by numpy here, applied by DALI.

`draw(name, seed, epoch, ...)` is a function of its arguments alone, so a trial that resumes at epoch n sees what it
would have seen. From `default_rng([seed, epoch])`, in this order, for each place in the epoch (the first image shown,
the second, ...), whatever the batch size:

1. the order: `permutation(images)`;
2. the windows, crop_resized, crop_resized_cutout and seed: `uniform(0.25, 1)` for the areas, then
   `uniform(log 0.9, log 1.1)` for the logs of the aspects, both (images, 10), then `random((images, 2))` for the places;
   the crop_pads: `integers(-4, 4 + 1, (images, 2))`;
3. the flips, where the augmentation has a flip and the data set allows one: `random(images) < probability`; alternating
   flips instead come from `default_rng(seed).random(images) < 0.5`, one for each image of the split, and turn over
   with every epoch;
4. the middles of the holes, crop_pad_cutout and crop_resized_cutout: `integers(0, size, (images, 2))`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from results.errors import InputError
from trainer.dataset import Header

PADDING = 4
"""Zeros (black, before normalisation) on each side of an image under crop_pad."""
AREA = (0.25, 1.0)
ASPECT = (0.9, 1.1)
HOLE = 16
"""Pixels of each side of the square that is taken out (arXiv 1708.04552, its best for CIFAR-10)."""
ATTEMPTS = 10
"""Windows drawn for an image; the first that fits is taken, and the whole image where none fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What a name stands for."""

    resize_window: bool = False
    """Cut a random window (`AREA` of the image, `ASPECT` log-uniform) and resize it to the full size, linearly."""
    pad_crop: bool = False
    """Pad by `PADDING`, then cut a random window of the full size."""
    flip: float = 0.0
    """Probability of a horizontal flip where the data set allows flips."""
    alternate: bool = False
    """Each image is flipped in every other epoch, so that two epochs show both sides (arXiv 2404.00498)."""
    hole: int = 0
    """Pixels of each side of a square that is set to the mean; its middle is any pixel, so part of it may lie outside."""
    normalise: bool = True
    """By mean and deviation of the training split; else only a division by 255."""


AUGMENTATIONS = {
    "crop_resized": Augmentation(resize_window=True, flip=0.5),
    "crop_pad": Augmentation(pad_crop=True, flip=0.5),
    "crop_pad_alternate": Augmentation(pad_crop=True, flip=0.5, alternate=True),
    "crop_pad_cutout": Augmentation(pad_crop=True, flip=0.5, alternate=True, hole=HOLE),
    "crop_resized_cutout": Augmentation(resize_window=True, flip=0.5, alternate=True, hole=HOLE),
    "seed": Augmentation(resize_window=True, flip=0.3, normalise=False),
    "none": Augmentation(),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """One epoch: which image comes at each place, and what happens to it. N images; None = is not done."""

    order: np.ndarray
    """(N,) int64, places in the split."""
    windows: np.ndarray | None
    """(N, 4) int32: top, left, bottom, right of the window in pixels, the ends excluded; beyond the image is black."""
    flips: np.ndarray | None
    """(N,) int32, 1 = mirrored."""
    holes: np.ndarray | None = None
    """(N, 2) int32: top and left of the hole in the image as it is shown, but for its mirroring; may be below 0."""


def augmentation(name: str) -> Augmentation:
    """Raises InputError for an unknown name."""
    if name not in AUGMENTATIONS:
        raise InputError(f'"augment" must be one of {", ".join(AUGMENTATIONS)}, but got {name!r}.')
    return AUGMENTATIONS[name]


def draw(name: str, seed: int, epoch: int, *, images: int, header: Header) -> Draws:
    """The epoch's draws (epochs count from 1) for a split of so many images."""
    kind = augmentation(name)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(images)
    windows = None
    if kind.resize_window:
        windows = _resized_windows(rng, images, header.image_size)
    elif kind.pad_crop:
        start = rng.integers(-PADDING, PADDING + 1, (images, 2), dtype=np.int32)
        windows = np.concatenate([start, start + np.int32(header.image_size)], axis=1)
    flips = None
    if kind.flip and header.flip:
        if kind.alternate:
            drawn = (np.random.default_rng(seed).random(images)[order] < kind.flip) ^ (epoch % 2 == 0)
        else:
            drawn = rng.random(images) < kind.flip
        flips = drawn.astype(np.int32)
    holes = None
    if kind.hole:
        holes = rng.integers(0, header.image_size, (images, 2), dtype=np.int32) - np.int32(kind.hole // 2)
    return Draws(order=order, windows=windows, flips=flips, holes=holes)


def normalisation(name: str, header: Header) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, for pixels of 0 to 255."""
    if not augmentation(name).normalise:
        return [0.0] * 3, [255.0] * 3
    return [255 * value for value in header.mean], [255 * value for value in header.std]


def _resized_windows(rng: np.random.Generator, images: int, size: int) -> np.ndarray:
    """(images, 4) int32: windows of random area and aspect (width over height) inside an image of `size` x `size`.

    As DALI's and torchvision's random resized crop: whole pixels, and a window that does not fit is drawn again.
    """
    area = rng.uniform(*AREA, (images, ATTEMPTS)) * size**2
    aspect = np.exp(rng.uniform(np.log(ASPECT[0]), np.log(ASPECT[1]), (images, ATTEMPTS)))
    place = rng.random((images, 2))

    extents = np.rint(np.sqrt(np.stack([area / aspect, area * aspect], axis=-1)))  # height, width
    extents = np.concatenate([extents, np.full((images, 1, 2), size)], axis=1)
    fits = (extents <= size).all(axis=-1)
    extent = extents[np.arange(images), fits.argmax(axis=1)]
    start = np.floor(place * (size - extent + 1))
    return np.concatenate([start, start + extent], axis=1).astype(np.int32)
