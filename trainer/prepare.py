"""Makes a packed data set from a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from results.errors import InputError
from trainer import packed, splits
from trainer.dataset import EMBEDDED, SPLITS, Header, content_of, data_folder, read_header, resolve_dataset
from trainer.progress import Silent
from trainer.source import Part, Source
from trainer.sources import read_source, refuse_other_digits

SILENT = Silent()


def prepare(
    name: str,
    source: Path | None = None,
    *,
    size: int | None = None,
    split_seed: int | None = None,
    flip: bool | None = None,
    force: bool = False,
    progress: Silent = SILENT,
) -> tuple[Header, bool]:
    """Make the packed data set `name`, unless it is there; say what it is and whether it was made now.

    Args:
        source: archive, zip or folder; None fetches the official archive, or makes the embedded data set.
        size: S of class folders' images (32): shorter side resized to S, then the centre cut out.
        split_seed: draws the validation part, and the test part where the source has none (0).
        flip: whether mirrored images keep their class; None = yes but for digits.
        force: make it anew.
        progress: is told what is being done and how far it is.
    Raises:
        InputError: bad input; what is there was made with another size, split seed or flip.
        OSError: the disk is full, among others. What was there before stays whole.
    """
    path = resolve_dataset(name)
    if path.parent != data_folder(create=True):
        raise InputError(f"A data set must be prepared under a name, but got the path {name!r}; try: cifar10")
    if size is not None and not 8 <= size <= 1024:
        raise InputError(f'"--size" must be from 8 to 1024 pixels, but got {size}.')
    if split_seed is not None and split_seed < 0:
        raise InputError(f'"--split-seed" must be at least 0, but got {split_seed}.')
    refuse_other_digits(name, source, size)
    asked = {"--size": size, "--split-seed": split_seed, "--flip": flip}
    if path.exists() and not force:
        return _found(name, asked), False
    with packed.locked(path):
        if path.exists() and not force:  # another process made it while this one waited
            return _found(name, asked), False
        read = read_source(name, source, size, progress)
        progress.say(f"Writing {path}")
        _pack(path, read, split_seed or 0, name != EMBEDDED if flip is None else flip)
    return read_header(name), True


def _found(name: str, asked: dict[str, int | None]) -> Header:
    """What is there. Raises InputError where something else was asked for."""
    header = read_header(name)
    found = {"--size": header.image_size, "--split-seed": header.split_seed, "--flip": header.flip}
    for option, value in asked.items():
        if value is not None and value != found[option]:
            raise InputError(
                f"The data set {name!r} is there with {option} {int(found[option])}, but got {option} {int(value)}; "
                "add --force to make it anew, or choose another name."
            )
    return header


def _pack(path: Path, source: Source, split_seed: int, flip: bool) -> None:
    tensors: dict[str, np.ndarray] = {}
    for split, (part, index) in split_source(source, split_seed).items():
        tensors[f"{split}.images"] = part.images[index]
        tensors[f"{split}.labels"] = part.labels[index]
        tensors[f"{split}.source_index"] = index
    mean, std = channel_statistics(tensors["train.images"])
    metadata = {
        "name": path.stem,
        "classes": list(source.classes),
        "image_size": source.train.images.shape[1],
        "mean": mean,
        "std": std,
        "flip": flip,
        "split_seed": split_seed,
        "source": source.description,
        "counts": {split: len(tensors[f"{split}.labels"]) for split in SPLITS},
    }
    packed.write_atomically(path, {**metadata, "checksum": packed.checksum(content_of(metadata), tensors)}, tensors)


def split_source(source: Source, seed: int) -> dict[str, tuple[Part, np.ndarray]]:
    """For each split, the part of the source that it is taken from, and its places there.

    Raises:
        InputError: a class has too few images for the splits that are cut out.
    """
    given = {"val": source.val, "test": source.test}
    shares = {"val": splits.VAL_SHARE, "test": splits.TEST_SHARE}
    missing = [name for name, part in given.items() if part is None]
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    if counts.min() <= len(missing):
        raise InputError(
            f"Every class must have at least {len(missing) + 1} images where {' and '.join(['train', *missing])} come "
            f"out of one part, but {source.classes[int(counts.argmin())]!r} has {counts.min()}."
        )
    indices = splits.cut(source.train.labels, tuple(shares[name] for name in missing), seed)
    cut_out = dict(zip(["train", *missing], indices, strict=True))
    return {
        name: (source.train, cut_out[name]) if part is None else (part, np.arange(len(part.labels)))
        for name, part in {"train": None, **given}.items()
    }


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and deviation (of the population) of each channel of (N, S, S, 3) uint8 images, in fractions of 255.

    From exact counts of the 256 values, so the same on every machine. A constant channel has the deviation 1/255.
    """
    values = np.arange(256)
    means, deviations = [], []
    for channel in range(3):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(counts @ values) / float(counts.sum())
        variance = float(counts @ (values - mean) ** 2) / float(counts.sum())
        means.append(mean / 255)
        deviations.append(max(1.0, variance**0.5) / 255)
    return means, deviations
