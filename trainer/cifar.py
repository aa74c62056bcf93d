"""CIFAR-10 and CIFAR-100 as their author publishes them: archives of pickles ("python version") or of records ("binary
version"), packed or unpacked. https://www.cs.toronto.edu/~kriz/cifar.html

Pickles run code when they are read by `pickle.load`. Here they may name nothing but numpy's arrays, and these are not
made by numpy's own unpickling either: two plain classes record what the pickle says, which is then checked.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from results.errors import InputError
from trainer.archives import Archive
from trainer.source import Part, Source

SIZE = 32
_PIXELS = 3 * SIZE * SIZE


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """File names and layout of one published version."""

    title: str
    train: tuple[str, ...]
    test: str
    names: str
    """The file of class names."""
    label_key: bytes
    """Of pickles: the entry of the labels."""
    names_key: bytes
    label_bytes: int = 0
    """Of records: bytes before the pixels, the last of which is the label. 0 = pickles."""


VERSIONS = (
    Version(
        title="CIFAR-10, python version",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        names="batches.meta",
        label_key=b"labels",
        names_key=b"label_names",
    ),
    Version(
        title="CIFAR-10, binary version",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test="test_batch.bin",
        names="batches.meta.txt",
        label_key=b"",
        names_key=b"",
        label_bytes=1,
    ),
    Version(
        title="CIFAR-100, python version",
        train=("train",),
        test="test",
        names="meta",
        label_key=b"fine_labels",
        names_key=b"fine_label_names",
    ),
    Version(
        title="CIFAR-100, binary version",
        train=("train.bin",),
        test="test.bin",
        names="fine_label_names.txt",
        label_key=b"",
        names_key=b"",
        label_bytes=2,
    ),
)


def version_of(archive: Archive) -> tuple[Version, dict[str, str]] | None:
    """The published version that an archive holds, with its files by their bare names; None if it holds none.

    Raises:
        InputError: some of its files are missing.
    """
    files = {PurePosixPath(name).name: name for name in archive.files()}
    for version in VERSIONS:
        wanted = (*version.train, version.test, version.names)
        if version.names not in files or not any(name in files for name in (*version.train, version.test)):
            continue
        missing = [name for name in wanted if name not in files]
        if missing:
            raise InputError(
                f"{version.title} must have the files {', '.join(wanted)}, but {archive.path} lacks "
                f"{', '.join(missing)}; fetch it again."
            )
        return version, {name: files[name] for name in wanted}
    return None


def read_cifar(archive: Archive, version: Version, files: dict[str, str]) -> Source:
    """Images and labels of a published version.

    Raises:
        InputError: a file that is damaged, or is not what it should be.
    """
    contents = dict(archive.read(files.values()))

    def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
        read = _records if version.label_bytes else _pickled
        return read(contents[files[name]], version, f"{archive.path}: {name}")

    classes = _class_names(contents[files[version.names]], version, f"{archive.path}: {version.names}")
    train = [batch(name) for name in version.train]
    parts = []
    for batches in (train, [batch(version.test)]):
        pixels = np.concatenate([images for images, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise _bad(
                str(archive.path), f"has labels from {labels.min()} to {labels.max()} for {len(classes)} classes"
            )
        images = np.ascontiguousarray(pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))
        parts.append(Part(images=images, labels=labels))
    return Source(classes=classes, train=parts[0], test=parts[1], description=f"{version.title}: {archive.path.name}")


def _class_names(content: bytes, version: Version, where: str) -> tuple[str, ...]:
    if version.label_bytes:
        return tuple(_text(content).split())
    names = _entry(_unpickle(content, where), version.names_key, where)
    if not isinstance(names, list):
        raise _bad(where, "has no list of class names")
    return tuple(_text(name) for name in names)


def _records(content: bytes, version: Version, where: str) -> tuple[np.ndarray, np.ndarray]:
    length = version.label_bytes + _PIXELS
    if not content or len(content) % length:
        raise _bad(where, f"has {len(content)} bytes, no multiple of {length}")
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return records[:, version.label_bytes :], records[:, version.label_bytes - 1].astype(np.int64)


def _pickled(content: bytes, version: Version, where: str) -> tuple[np.ndarray, np.ndarray]:
    batch = _unpickle(content, where)
    data = _entry(batch, b"data", where)
    labels = _entry(batch, version.label_key, where)
    pixels = data.array() if isinstance(data, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != _PIXELS or len(pixels) == 0:
        raise _bad(where, f"has no uint8 array of {_PIXELS} columns as its data")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels) or len(labels) != len(pixels):
        raise _bad(where, f"does not have a list of {len(pixels)} whole numbers as its labels")
    return pixels, np.array(labels, np.int64)


class _Dtype:
    """Stands for numpy.dtype in a pickle."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = _text(code)

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: of no meaning for bytes."""


class _Array:
    """Stands for numpy.ndarray in a pickle."""

    def __init__(self, *_: object) -> None:
        self._state: Any = None

    def __setstate__(self, state: object) -> None:
        self._state = state

    def array(self) -> np.ndarray | None:
        """The array, if it is one of unsigned bytes whose shape fits its content."""
        match self._state:
            case (_, tuple() as shape, _Dtype(code="u1" | "uint8"), fortran, bytes() | str() as raw):
                content = raw if isinstance(raw, bytes) else raw.encode("latin1")
            case _:
                return None
        if not all(type(extent) is int and extent >= 0 for extent in shape) or np.prod(shape, dtype=object) != len(
            content
        ):
            return None
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Nothing:
    """Stands for the class ndarray itself, which a pickle names as an argument of `_reconstruct`."""


def _encode(text: str, encoding: str) -> bytes:
    """Stands for codecs.encode, by which old pickle protocols spell bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Nothing,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR archive does")
        return _ALLOWED[module, name]


def _unpickle(content: bytes, where: str) -> Any:
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:
        raise _bad(where, f"is damaged, or is something else ({error})") from error


def _entry(batch: Any, key: bytes, where: str) -> Any:
    """The entry under `key`, which a pickle of Python 3 may have as text. Raises InputError where there is none."""
    if isinstance(batch, dict):
        for spelling in (key, key.decode()):
            if spelling in batch:
                return batch[spelling]
    raise _bad(where, f"has no entry {key.decode()!r}")


def _text(name: object) -> str:
    return name.decode("ascii", errors="replace") if isinstance(name, bytes) else str(name)


def _bad(where: str, what: str) -> InputError:
    return InputError(f"A CIFAR file must be as published, but {where} {what}; fetch it again.")
