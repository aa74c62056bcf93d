"""Reads a folder, a zip or a tar archive alike: names of files, and their bytes. Nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from results.errors import InputError

_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_BROKEN_TAR = (tarfile.TarError, gzip.BadGzipFile, lzma.LZMAError, EOFError, zlib.error)
_BROKEN_ZIP = (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError)


class Archive(Protocol):
    """Names are relative, with forward slashes; hidden files are left out."""

    path: Path

    def files(self) -> list[str]:
        """Sorted names of the files."""
        ...

    def folders(self) -> list[str]:
        """Sorted names of the folders, as far as the archive lists them; empty ones among them."""
        ...

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Each file's name and bytes, in an order of its own. Raises InputError for one that cannot be read."""
        ...


def open_archive(path: Path) -> Archive:
    """The folder, zip or tar archive at `path`.

    Raises:
        InputError: there is nothing, it is damaged, or it is something else.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise InputError(f'"--from" must name an archive or a folder that exists, but got {str(path)!r}.')
    if zipfile.is_zipfile(path):
        return Zip(path)
    try:
        return Tar(path)
    except _BROKEN_TAR as error:
        raise InputError(
            f'"--from" must name a folder, a zip or a tar archive that is whole, but {path} is not one; make it anew.'
        ) from error


class Folder:
    """A folder; links are followed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[str] = []
        self._folders: list[str] = []
        self._walk(path, "", frozenset())

    def files(self) -> list[str]:
        return sorted(self._files)

    def folders(self) -> list[str]:
        return sorted(self._folders)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            try:
                yield name, (self.path / name).read_bytes()
            except OSError as error:
                raise InputError(f"Every file must be readable, but {self.path / name} is not: {error}.") from error

    def _walk(self, folder: Path, prefix: str, above: frozenset[Path]) -> None:
        real = folder.resolve()
        if real in above:  # a link to a folder that holds it
            return
        for entry in folder.iterdir():
            if not _is_wanted(entry.name):
                continue
            if entry.is_dir():
                self._folders.append(prefix + entry.name)
                self._walk(entry, f"{prefix}{entry.name}/", above | {real})
            else:
                self._files.append(prefix + entry.name)


class Zip:
    """A zip archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN_ZIP as error:
            raise InputError(f"A zip archive must be whole, but {path} is not ({error}); fetch it again.") from error
        self._names = [name for name in self._zip.namelist() if _is_wanted(name)]

    def files(self) -> list[str]:
        return sorted(name for name in self._names if not name.endswith("/"))

    def folders(self) -> list[str]:
        return sorted(name.rstrip("/") for name in self._names if name.endswith("/"))

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            try:
                yield name, self._zip.read(name)
            except _BROKEN_ZIP as error:
                raise InputError(
                    f"Every file of a zip archive must be readable, but {name} in {self.path} is not ({error}); make it "
                    "anew."
                ) from error


class Tar:
    """A tar archive, compressed or not. Raises tarfile's errors when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path) as tar:
            self._members = {
                str(PurePosixPath(member.name)): member for member in tar.getmembers() if _is_wanted(member.name)
            }

    def files(self) -> list[str]:
        return sorted(name for name, member in self._members.items() if member.isfile())

    def folders(self) -> list[str]:
        return sorted(name for name, member in self._members.items() if member.isdir())

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        wanted = sorted(names, key=lambda name: self._members[name].offset)  # going back would decompress anew
        try:
            with tarfile.open(self.path) as tar:
                for name in wanted:
                    file = tar.extractfile(self._members[name])
                    yield name, file.read() if file is not None else b""
        except _BROKEN_TAR as error:
            raise InputError(
                f"A tar archive must be whole, but {self.path} is not ({error}); fetch it again."
            ) from error


def _is_wanted(name: str) -> bool:
    return not any(part.startswith(".") or part in _IGNORED for part in PurePosixPath(name).parts)
