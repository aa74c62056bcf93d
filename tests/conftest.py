"""Fixtures that several folders share."""

import os
from pathlib import Path

import pytest

from trainer.dataset import Dataset, load_dataset

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's own folder of packed data sets, which ARBOR_DATA names, for started processes too."""
    folder = tmp_path_factory.mktemp("data")
    os.environ["ARBOR_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def digits(data_folder: Path) -> Dataset:
    """The embedded data set, packed once a session."""
    return load_dataset("digits")


@pytest.fixture(scope="session")
def cifar10_zip() -> Path:
    """The real images; skips where the file is absent."""
    path = Path(os.environ.get("ARBOR_CIFAR10_ZIP", REPOSITORY.parent / "shared" / "datasets" / "cifar10.zip"))
    if not path.is_file():
        pytest.skip(f"CIFAR-10 is not at {path}; name its zip in ARBOR_CIFAR10_ZIP")
    return path
