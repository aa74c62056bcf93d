"""Class folders of images, in a folder or a zip archive:

    train/<class>/*   [test/<class>/*]   [val/<class>/*]      what parts the source has; others are cut out of train
    <class>/*                                                 no parts

optionally under one top folder. Classes are numbered in the order of their names, images in the order of theirs; images
may lie in folders of their own under the class. An image is turned upright (by its EXIF entry); if it has another size
than wanted, its shorter side is resized (antialiased, bicubic) and its centre is cut out.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from results.errors import InputError
from trainer.archives import Archive, Tar, open_archive
from trainer.progress import Silent
from trainer.source import Part, Source

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
PARTS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}

_CHUNK = 250
_FEW = 2000
"""Images up to which starting processes takes longer than decoding."""


def read_class_folders(archive: Archive, size: int, progress: Silent) -> Source:
    """Decode every image of class folders to (size, size, 3).

    Raises:
        InputError: no class folders, an empty one, parts with other classes, or an image that cannot be read.
    """
    if isinstance(archive, Tar):
        raise InputError(
            f"Class folders must be in a folder or a zip archive, but {archive.path} is a tar archive (and not CIFAR "
            "as published); unpack it and give its folder."
        )
    found = _find_images(archive)
    classes = _require_classes(archive, found)
    names = [name for folders in found.values() for label in classes for name in folders[label]]
    images = _decode_all(archive, names, size, progress)
    parts, start = {}, 0
    for part, folders in found.items():
        counts = [len(folders[label]) for label in classes]
        labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
        parts[part] = Part(images=images[start : start + len(labels)], labels=labels)
        start += len(labels)
    return Source(classes=classes, description=f"class folders: {archive.path.name}", **parts)


def _find_images(archive: Archive) -> dict[str, dict[str, list[str]]]:
    """Names of the images by part and class, in order; one part, `train`, where the source has no parts.

    Raises:
        InputError: there are parts but no `train`, or two of one kind.
    """
    files = [(PurePosixPath(name).parts, name) for name in archive.files()]
    folders = {PurePosixPath(name).parts for name in archive.folders()}
    folders |= {path[:end] for path, _ in files for end in range(1, len(path))}
    below: dict[tuple[str, ...], list[str]] = {}
    for folder in sorted(folders):
        below.setdefault(folder[:-1], []).append(folder[-1])

    top: tuple[str, ...] = ()
    while len(below.get(top, [])) == 1 and below[top][0] not in PARTS and (*top, below[top][0]) in below:
        top = (*top, below[top][0])

    # A class may be called "train": it is a part only if it has folders of its own.
    roots = {name: (*top, name) for name in below.get(top, []) if name in PARTS and (*top, name) in below}
    if not roots:
        roots = {"train": top}
    spelled = [PARTS[name] for name in roots]
    if "train" not in spelled or len(set(spelled)) < len(spelled):
        raise InputError(
            f'Parts must be folders "train", "test" and "val" (the last two if the source has them), each once, but '
            f"{archive.path} has {', '.join(roots)}."
        )
    found: dict[str, dict[str, list[str]]] = {}
    for name, root in roots.items():
        images: dict[str, list[str]] = {label: [] for label in below.get(root, [])}
        for path, file in files:
            if (
                path[: len(root)] == root
                and len(path) > len(root) + 1
                and PurePosixPath(file).suffix.lower() in SUFFIXES
            ):
                images[path[len(root)]].append(file)
        found[PARTS[name]] = images
    return found


def _require_classes(archive: Archive, found: dict[str, dict[str, list[str]]]) -> tuple[str, ...]:
    """The classes' names, sorted. Raises InputError where the parts disagree or a folder is empty."""
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        raise InputError(
            f"A data set must have at least 2 class folders (<class>/*, or train/<class>/* and test/<class>/*), but "
            f"{archive.path} has {len(classes)}."
        )
    for part, folders in found.items():
        for label in sorted({*classes, *folders}):
            if label not in folders or label not in classes:
                lacking = part if label not in folders else "train"
                raise InputError(
                    f"Every part must have the same class folders, but {lacking!r} of {archive.path} lacks {label!r}."
                )
            if not folders[label]:
                where = f"{part}/{label}" if len(found) > 1 else label
                raise InputError(
                    f"Every class folder must have images ({' '.join(sorted(SUFFIXES))}), but {where!r} of "
                    f"{archive.path} has none; add some, or remove the folder."
                )
    return classes


def _decode_all(archive: Archive, names: list[str], size: int, progress: Silent) -> np.ndarray:
    """(N, size, size, 3) uint8 in the order of `names`; by processes, since threads were slower than one alone."""
    images = np.empty((len(names), size, size, 3), np.uint8)
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    workers = min(len(os.sched_getaffinity(0)), len(chunks)) if len(names) > _FEW else 1
    with progress.bar(f"Decoding {len(names):,} images with {workers} process(es)", len(names)) as advance:
        start = 0
        for decoded in _decode_chunks(archive, chunks, size, workers):
            images[start : start + len(decoded)] = decoded
            start += len(decoded)
            advance(len(decoded))
    return images


def _decode_chunks(archive: Archive, chunks: list[list[str]], size: int, workers: int) -> Iterator[np.ndarray]:
    if workers == 1:
        for chunk in chunks:
            yield _decode(archive, chunk, size)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy other threads' locks as they are
    with ProcessPoolExecutor(workers, spawn, _start_worker, (archive.path, size)) as pool:
        try:
            yield from pool.map(_decode_in_worker, chunks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(path: Path, size: int) -> None:
    """Opens the archive once a process; leaves Ctrl-C to the parent, and ends with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()
    _worker["archive"], _worker["size"] = open_archive(path), size


_worker: dict[str, Any] = {}


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _decode_in_worker(names: list[str]) -> np.ndarray:
    return _decode(_worker["archive"], names, _worker["size"])


def _decode(archive: Archive, names: list[str], size: int) -> np.ndarray:
    return np.stack([_decode_one(content, f"{archive.path}: {name}", size) for name, content in archive.read(names)])


def _decode_one(content: bytes, where: str, size: int) -> np.ndarray:
    """(size, size, 3) uint8. Raises InputError for what is no image that can be read."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.mode.startswith(("I", "F")):
                raise InputError(f"An image must have 8 bits a channel, but {where} has the mode {opened.mode!r}.")
            upright = ImageOps.exif_transpose(opened)
            image = upright.convert("RGB")
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"Every image must be readable, but {where} is of no known kind; repair or remove it."
        ) from error
    except Exception as error:
        raise InputError(f"Every image must be readable, but {where} is not ({error}); repair or remove it.") from error
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)
