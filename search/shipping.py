"""What the nodes of a cluster lack, sent through Ray: the packed data set, variants' files, and the code itself.

A node needs nothing but the environment (constraints.txt). The data set lies once in Ray's object store; the first worker
of a node that lacks it writes it into the node's folder of data sets (`$ARBOR_DATA`, else ~/.cache/arbor/data), the others
wait for it. What is there already, by a shared path or from a search before, is known by its checksum and used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from results.errors import InputError
from trainer import packed
from trainer.dataset import SUFFIX, Header, data_folder
from trainer.fingerprint import REPOSITORY, code_fingerprint
from trainer.resolve import cached_dataset

CODE = ("arch_space", "results", "search", "trainer")
"""The packages that a worker imports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipped:
    """What travels with every trial of a joined cluster; the images themselves only where they are asked for."""

    name: str
    checksum: str
    origin: str
    """The data set's path on the driver's machine, which the nodes may share."""
    images: tuple[Any, ...]
    """A reference to the packed file's bytes in Ray's object store; in a tuple, so that Ray does not fetch it unasked."""
    variants: tuple[tuple[str, tuple[tuple[str, bytes], ...]], ...]
    """(folder or "", its files by name and content) for each path of variants."""
    code: dict[str, Any]
    """The commit of the driver's code and whether it was dirty: a node has the files, but no git."""

    def dataset_path(self) -> str:
        """The data set on this node, written now if nobody has.

        Raises:
            InputError: `$ARBOR_DATA` names no folder.
            OSError: it cannot be written.
        """
        folder = node_folder()
        for path in (Path(self.origin), folder / f"{self.name}{SUFFIX}"):
            if _says(path) == self.checksum:
                return str(path)
        kept = folder / f"{self.name}-{self.checksum[:16]}{SUFFIX}"
        with packed.locked(kept):
            if not self._is_whole(kept):
                import ray

                packed.put_atomically(kept, ray.get(self.images[0]).data)
        return str(kept)

    def variant_paths(self) -> list[str]:
        """The variants' files and folders on this node, written now if nobody has."""
        return [str(_unpacked(folder, files)) for folder, files in self.variants]

    def _is_whole(self, path: Path) -> bool:
        try:
            return path.is_file() and cached_dataset(str(path)).checksum == self.checksum
        except InputError:  # damaged, and ours: it is written again
            return False


def ship(header: Header, variants: Sequence[str]) -> Shipped:
    """Put a search's data set into the object store of the cluster that this process has joined."""
    import ray

    code = code_fingerprint()
    return Shipped(
        name=header.name,
        checksum=header.checksum,
        origin=str(header.path),
        images=(ray.put(np.fromfile(header.path, np.uint8)),),
        variants=tuple(_contents(Path(path)) for path in variants),
        code={name: code[name] for name in ("git_commit", "dirty")},
    )


def stage_code(folder: Path) -> Path:
    """Copy the packages of a worker into a folder for Ray to send."""
    for package in CODE:
        shutil.copytree(
            REPOSITORY / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.png", "*.md")
        )
    return folder


def node_folder() -> Path:
    """Where this node keeps data sets: `$ARBOR_DATA`, which must exist, else ~/.cache/arbor/data."""
    if os.environ.get("ARBOR_DATA"):
        return data_folder()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbor" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _says(path: Path) -> str | None:
    """The checksum in a file's header; its content is checked when it is loaded."""
    try:
        return str(packed.read_metadata(path).get("checksum"))
    except (OSError, InputError):
        return None


def _contents(path: Path) -> tuple[str, tuple[tuple[str, bytes], ...]]:
    if path.is_dir():
        return path.name, tuple((file.name, file.read_bytes()) for file in sorted(path.glob("*.py")))
    return "", ((path.name, path.read_bytes()),)


def _unpacked(folder: str, files: Sequence[tuple[str, bytes]]) -> Path:
    """One path of variants, under a name that its content decides: two searches may differ in it."""
    digest = hashlib.sha256(repr((folder, tuple(files))).encode()).hexdigest()[:16]
    place = node_folder() / ".variants" / digest
    place.mkdir(parents=True, exist_ok=True)
    for path, content in _targets(place, folder, files):
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(content)
        os.replace(temporary, path)
    return place / folder if folder else place / files[0][0]


def _targets(place: Path, folder: str, files: Sequence[tuple[str, bytes]]) -> Iterator[tuple[Path, bytes]]:
    return ((place / folder / name, content) for name, content in files)
