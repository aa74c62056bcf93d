"""The file of a packed data set: safetensors with JSON metadata in its header, written atomically, read by mapping.

Written here and not by the safetensors library, which takes a path alone: a full disk shall be an OSError that names
itself, and the bytes shall be on the disk (fsync) before the file gets its name. Any safetensors reader can read it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from results.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer  # of the library itself from Python 3.12 on

FORMAT = "arbor packed data set"
VERSION = 1
METADATA_KEY = "arbor"

_LARGEST_HEADER = 1_000_000
_DTYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype(np.uint8), "I64": np.dtype("<i8")}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def checksum(content: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """sha256 (hex) over `content` as canonical JSON and over name, type, shape and bytes of every tensor by name."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {_code(tensor)} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data.cast("B"))
    return digest.hexdigest()


def write(file: BinaryIO, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a whole packed file into an open one. Raises OSError, with ENOSPC where the disk is full."""
    entries: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT,
            "version": str(VERSION),
            METADATA_KEY: json.dumps(metadata, ensure_ascii=True),
        }
    }
    offset = 0
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # widest first, so that all are aligned
    for name in names:
        tensor = tensors[name]
        entries[name] = {
            "dtype": _code(tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    header = json.dumps(entries, ensure_ascii=True).encode()
    header += b" " * (-len(header) % 8)
    file.write(struct.pack("<Q", len(header)))
    file.write(header)
    for name in names:
        file.write(np.ascontiguousarray(tensors[name]).data.cast("B"))


def write_atomically(path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """`path` holds the new content whole, or what it held before. Call under `locked(path)`."""
    _replace(path, lambda file: write(file, metadata, tensors))


def put_atomically(path: Path, content: Buffer) -> None:
    """The same for the bytes of a whole packed file."""
    _replace(path, lambda file: file.write(content))


def _replace(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes the data set at `path`; a lock goes with its process. Removes what killed ones left.

    On a file system without locks several may work at once, and the last one's file stays.
    """
    try:
        lock = path.with_name(f".{path.stem}.lock").open("ab")
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        raise InputError(
            f"To make a data set, its folder must be writable, but {path.parent} is not; name another in ARBOR_DATA."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        else:
            leftover = re.compile(re.escape(f".{path.stem}.") + r"\d+\.partial")
            for found in path.parent.iterdir():
                if leftover.fullmatch(found.name):
                    found.unlink(missing_ok=True)
        yield


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a packed file, without its tensors. Raises InputError for a damaged or a foreign file."""
    with path.open("rb") as file:
        return _read_header(path, file)[0]


def map_tensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metadata and tensors of a packed file, read-only and mapped: processes on one host share the memory.

    Raises:
        InputError: a damaged or a foreign file.
    """
    tensors = {}
    with path.open("rb") as file:  # one handle for all: another process may put a new file at this path
        metadata, entries, start = _read_header(path, file)
        for name, entry in entries.items():
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            mapped: np.ndarray = np.memmap(file, dtype, mode="r", offset=start + entry["data_offsets"][0], shape=shape)
            tensors[name] = mapped.view(np.ndarray)
    return metadata, tensors


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Metadata, the tensors' entries, and where in the file their bytes start."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
        raise _foreign(path)
    raw = file.read(length)
    try:
        entries = json.loads(raw)
        described = entries.pop("__metadata__")
        if described["format"] != FORMAT:
            raise _foreign(path)
        if described["version"] != str(VERSION):
            raise InputError(
                f"A packed data set must have format version {VERSION}, but {path} has {described['version']}; "
                f"make it again with: {make_command(path.stem)} --force"
            )
        metadata = json.loads(described[METADATA_KEY])
        end = 8 + length + max(entry["data_offsets"][1] for entry in entries.values())
        whole = all(_is_consistent(entry) for entry in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise _foreign(path) from error
    if size != end or not whole:
        raise damaged(path, f"must have {end} bytes, but has {size}")
    return metadata, entries, 8 + length


def _is_consistent(entry: dict[str, Any]) -> bool:
    first, last = entry["data_offsets"]
    count = int(np.prod(entry["shape"], dtype=np.int64))
    return bool(0 <= first < last and last - first == count * _DTYPES[entry["dtype"]].itemsize)


def _code(tensor: np.ndarray) -> str:
    return next(code for code, dtype in _DTYPES.items() if dtype == tensor.dtype)


def _foreign(path: Path) -> InputError:
    return InputError(
        f"A data set must be a packed file made by `python -m trainer.dataset prepare`, but {path} is not one (or its "
        f"beginning is damaged); make it with: {make_command('NAME')} --from PATH"
    )


def damaged(path: Path, what: str) -> InputError:
    """The error for a file that is a packed data set but not whole."""
    return InputError(
        f"The data set {path} is damaged: it {what}; make it again with: {make_command(path.stem)} --force"
    )


def make_command(name: str) -> str:
    """The command that makes the data set `name`."""
    return f"python -m trainer.dataset prepare {name}"
