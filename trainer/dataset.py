"""Packed data sets: where they lie, what their header says, and how one is loaded.

A packed data set is one checksummed file, `NAME.safetensors` (trainer/packed.py), with uint8 images (N, S, S, 3),
int64 labels (N,) and the images' places in their source for each of the splits train, val and test. `digits`, the
embedded one, is made on its first use; the commands are in trainer/dataset_command.py:

    python -m trainer.dataset prepare cifar10 [--from PATH]
    python -m trainer.dataset list
    python -m trainer.dataset show cifar10
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from results.errors import InputError
from trainer import packed

SUFFIX = ".safetensors"
SPLITS = ("train", "val", "test")
EMBEDDED = "digits"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What is known of a packed data set without reading its images."""

    name: str
    path: Path
    """Absolute."""
    checksum: str
    """sha256 (hex) over images, labels, splits and the metadata that matters, whatever the name or the path."""
    classes: tuple[str, ...]
    image_size: int
    """S, the pixels of an image's side."""
    mean: tuple[float, float, float]
    """Of each channel of the training split, in fractions: a pixel of 255 counts as 1."""
    std: tuple[float, float, float]
    """Likewise; in the same unit."""
    flip: bool
    """Whether a mirrored image still belongs to its class (not so for digits)."""
    split_seed: int
    source: str
    """Where the images came from, in words."""
    counts: dict[str, int]
    """Images of each split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Images of one split, in the order of their source. The arrays are read-only."""

    images: np.ndarray = field(repr=False)
    """(N, S, S, 3) uint8."""
    labels: np.ndarray = field(repr=False)
    """(N,) int64, places in `Header.classes`."""
    source_index: np.ndarray = field(repr=False)
    """(N,) int64, the place of each image in its part of the source."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset(Header):
    """A packed data set with its images."""

    train: Split
    val: Split
    test: Split


def data_folder(*, create: bool = False) -> Path:
    """The folder of packed data sets, absolute: `$ARBOR_DATA`, else `runs/data` under the current folder.

    Args:
        create: make `runs/data` where it is missing; any other folder must be there.
    Raises:
        InputError: the folder that `$ARBOR_DATA` names is missing.
    """
    named = os.environ.get("ARBOR_DATA")
    folder = Path(named).expanduser().absolute() if named else Path.cwd() / "runs" / "data"
    if named and not folder.is_dir():
        raise InputError(f"ARBOR_DATA must name a folder that exists, but got {named!r}; make it, or unset ARBOR_DATA.")
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def resolve_dataset(name_or_path: str) -> Path:
    """The absolute path of a packed data set, there or not; what has a `/` or ends in .safetensors is a path.

    Raises:
        InputError: neither a path nor a possible name.
    """
    if "/" in name_or_path or name_or_path.endswith(SUFFIX):
        return Path(name_or_path).expanduser().absolute()
    if not _NAME.fullmatch(name_or_path):
        raise InputError(
            f"The name of a data set must be of letters, digits, '.', '_' and '-', but got {name_or_path!r}; "
            f"a path must have a '/' or end in {SUFFIX}."
        )
    return data_folder() / f"{name_or_path}{SUFFIX}"


def read_header(name_or_path: str) -> Header:
    """The header alone, without the images and without the checksum (fast). Makes `digits` where it is missing.

    Raises:
        InputError: no such data set (the command that makes it is named), a truncated or a foreign file.
    """
    path = _existing(name_or_path)
    return Header(**_header_values(path, packed.read_metadata(path)))


def load_dataset(name_or_path: str) -> Dataset:
    """The data set, checked against its checksum; its images are mapped, not read. Makes `digits` where it is missing.

    Raises:
        InputError: what `read_header` refuses, and content that does not have its checksum.
    """
    path = _existing(name_or_path)
    metadata, tensors = packed.map_tensors(path)
    values = _header_values(path, metadata)
    found = packed.checksum(content_of(metadata), tensors)
    if found != values["checksum"]:
        raise packed.damaged(path, f"must have the checksum {values['checksum'][:12]}, but has {found[:12]}")
    for split in SPLITS:
        values[split] = Split(**{key.name: tensors[f"{split}.{key.name}"] for key in fields(Split)})
    return Dataset(**values)


def content_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """The part of the metadata that the checksum covers: all but name, source and the checksum itself."""
    return {key: value for key, value in metadata.items() if key not in {"name", "source", "checksum"}}


def _existing(name_or_path: str) -> Path:
    path = resolve_dataset(name_or_path)
    if not path.is_file() and name_or_path == EMBEDDED:
        from trainer.prepare import prepare

        prepare(EMBEDDED)
    if not path.is_file():
        make = packed.make_command(path.stem if _NAME.fullmatch(path.stem) else "NAME")
        raise InputError(f"There is no data set {name_or_path!r} (no file {path}); make it with: {make} [--from PATH]")
    return path


def _header_values(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {key.name: metadata.get(key.name) for key in fields(Header) if key.name != "path"}
    if None in values.values():
        raise packed.damaged(path, "must have every entry of its header, but lacks some")
    for key in ("classes", "mean", "std"):
        values[key] = tuple(values[key])
    return {**values, "path": path}


if __name__ == "__main__":
    from trainer.dataset_command import main

    main()
