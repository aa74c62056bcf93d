"""Where images come from: a person's archive or folder, the official archive, or scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from results.errors import InputError
from trainer.archives import open_archive
from trainer.cifar import SIZE, read_cifar, version_of
from trainer.class_folders import read_class_folders
from trainer.dataset import EMBEDDED, data_folder
from trainer.packed import make_command
from trainer.progress import Advance, Silent
from trainer.source import Part, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """An archive that is fetched where no source is named."""

    url: str
    hash: str
    bytes: int


OFFICIAL = {
    "cifar10": Download(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        hash="md5:c58f30108f718f92721af3b95e74349a",
        bytes=170_498_071,
    ),
    "cifar100": Download(
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        hash="md5:eb9058c3a382ffc7106e4002c42a8d85",
        bytes=169_001_437,
    ),
}


def read_source(name: str, path: Path | None, size: int | None, progress: Silent) -> Source:
    """The images of the data set `name`: from `path`, or where that is None from what belongs to the name.

    Whether `path` holds CIFAR as published or class folders, its files tell. `size` is for class folders (None = 32).

    Raises:
        InputError: nothing belongs to the name, or the source is not what it should be.
    """
    if name == EMBEDDED:
        return digits()
    if path is None:
        path = fetch(name, progress)
    archive = open_archive(path)
    official = version_of(archive)
    if official is None:
        return read_class_folders(archive, SIZE if size is None else size, progress)
    if size not in {None, SIZE}:
        raise InputError(f'"--size" must be {SIZE} for CIFAR as published, but got {size}; other sizes: class folders.')
    version, files = official
    progress.say(f"Reading {version.title}")
    return read_cifar(archive, version, files)


def refuse_other_digits(name: str, path: Path | None, size: int | None) -> None:
    """Raises InputError where the name of the embedded data set is given to images of one's own."""
    if name == EMBEDDED and (path is not None or size not in {None, SIZE}):
        raise InputError(f'The name "{EMBEDDED}" is that of the embedded data set; choose another for your own.')


def digits() -> Source:
    """The 1,797 handwritten digits inside scikit-learn (8x8, 0 to 16), as 32x32 RGB of three equal channels.

    Enlarged four times by linear interpolation between the pixels' centres (the outermost are carried to the edge),
    times 255/16. All weights are eighths: the result is exact, the same on every machine.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    centres = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(8)))  # (32, 8)
    enlarged = np.rint(weights @ loaded.images @ weights.T * 255 / 16).astype(np.uint8)
    images = np.repeat(enlarged[..., None], 3, axis=-1)
    return Source(
        classes=tuple(str(digit) for digit in range(10)),
        train=Part(images=images, labels=loaded.target.astype(np.int64)),
        description="scikit-learn's handwritten digits, 8x8, enlarged",
    )


def fetch(name: str, progress: Silent) -> Path:
    """The official archive, fetched once into `downloads/` of the data folder and checked by its hash.

    Raises:
        InputError: no archive belongs to the name, there is no network, or what came has another hash.
    """
    if name not in OFFICIAL:
        raise InputError(
            f"A data set of your own must name its images, but got no --from for {name!r}; "
            f"try: {make_command(name)} --from PATH"
        )
    import pooch

    official = OFFICIAL[name]
    folder = data_folder(create=True) / "downloads" / name
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("tmp*"):  # of a killed run; the data set's lock is held
        leftover.unlink()
    pooch.get_logger().setLevel("ERROR")
    file = official.url.rpartition("/")[2]
    way_out = f"fetch it elsewhere and run: {make_command(name)} --from {file}"
    try:
        with progress.bar(f"Fetching {official.url}", official.bytes) as advance:
            downloader = pooch.HTTPDownloader(_PoochBar(official.bytes, advance), chunk_size=2**16)
            return Path(pooch.retrieve(official.url, official.hash, fname=file, path=folder, downloader=downloader))
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the network
            raise
        reason = type(error).__name__
        raise InputError(f"{official.url} must be within reach, but is not ({reason}); {way_out}") from error
    except ValueError as error:  # pooch's word for another hash
        raise InputError(
            f"{official.url} must have the hash {official.hash}, but what came has another; try again, or {way_out}"
        ) from error


class _PoochBar:
    """The little of a tqdm bar that pooch uses."""

    def __init__(self, total: int, advance: Advance) -> None:
        self.total, self._left, self._advance = total, total, advance

    def update(self, count: int) -> None:
        """So many bytes more; pooch counts whole chunks, and all of them once again at the end."""
        count = min(count, self._left)
        self._left -= count
        self._advance(count)

    def reset(self) -> None:
        """Before the whole is counted once again."""

    def close(self) -> None:
        """The bar is the console's."""
