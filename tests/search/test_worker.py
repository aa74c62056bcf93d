"""A trial's worker begins with what the search has looked at, or says in a sentence why it does not."""

import numpy as np
import pytest

from search.worker import TrialWorker
from trainer import packed
from trainer.dataset import content_of, load_dataset
from trainer.resolve import resolve

FLAT = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 128, "epochs": 1, "ffn": "mlp"}


@pytest.fixture
def worker():
    made = TrialWorker()
    yield made
    made.end()


def work_of(folder, dataset):
    """What a search on this data set gives to a worker."""
    return {
        "trial": "toy-1.1", "folder": str(folder / "001-mlp"), "reported": 0, "attempt": 1, "accumulation": 1, "hparams": {},
        "data": str(dataset.path), "data_checksum": dataset.checksum, "gpus": 0, "workers": 1, "threads": 1, "variants": [],
    }  # fmt: skip


def replace_images(path):
    """Another data set of the same name at the same place, whole and with a checksum of its own."""
    metadata, tensors = packed.map_tensors(path)
    tensors = {**tensors, "train.images": np.ascontiguousarray(tensors["train.images"][::-1])}
    checksum = packed.checksum(content_of(metadata), tensors)
    packed.write_atomically(path, {**metadata, "checksum": checksum}, tensors)


def test_data_that_were_replaced_after_the_search_looked_are_not_trained_on(tmp_path, digits, worker):
    path = tmp_path / "digits.safetensors"
    path.write_bytes(digits.path.read_bytes())
    before = load_dataset(str(path))
    replace_images(path)
    now = load_dataset(str(path))
    assert now.checksum != before.checksum
    flat = resolve(FLAT, on_gpu=False).to_flat()
    assert worker.step(flat, work_of(tmp_path, before))["failed"] == (
        f"The data set {path} has changed since its search looked at it (checksum {now.checksum[:12]}, recorded "
        f"{before.checksum[:12]}); put the old file back, or begin a new search with this one."
    )
    assert not (tmp_path / "001-mlp").exists()
