"""Packed data sets: digits, the header, and every file that must be refused."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

from results.errors import InputError
from trainer import packed
from trainer.dataset import SPLITS, Dataset, Header, load_dataset, read_header
from trainer.splits import cut


def test_digits_are_split_as_documented_and_every_image_is_in_exactly_one_split(digits):
    assert digits.counts == {"train": 1349, "val": 179, "test": 269}
    index = np.concatenate([getattr(digits, split).source_index for split in SPLITS])
    assert sorted(index) == list(range(1797))
    assert (digits.image_size, digits.flip, digits.classes) == (32, False, tuple("0123456789"))
    for split in SPLITS:
        part = getattr(digits, split)
        assert part.images.shape == (digits.counts[split], 32, 32, 3)
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int64)
        assert len(part) == digits.counts[split]


def test_digits_are_the_scikit_learn_images_enlarged_linearly(digits):
    source, k = load_digits(), 7
    image = source.images[digits.train.source_index[k]]
    assert digits.train.labels[k] == source.target[digits.train.source_index[k]]
    centres = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    rows = np.array([np.interp(centres, np.arange(8), row) for row in image])
    naive = np.array([np.interp(centres, np.arange(8), column) for column in rows.T]).T * 255 / 16
    assert np.abs(digits.train.images[k, :, :, 0] - naive).max() <= 0.5
    assert (digits.train.images[..., 0] == digits.train.images[..., 2]).all()


def test_digits_have_the_same_checksum_on_every_machine(digits):
    assert digits.checksum == "69dcd74619c7c0fd42ff982818aacebed8c0d11a6e8bfb054faf8ce3d22a332b"


def test_mean_and_deviation_are_those_of_the_training_split_in_fractions(digits):
    pixels = digits.train.images.astype(np.float64) / 255
    assert np.allclose(digits.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert np.allclose(digits.std, pixels.std(axis=(0, 1, 2)), rtol=1e-12)


def test_the_header_says_what_the_data_set_says(digits):
    header = read_header("digits")
    assert type(header) is Header
    assert all(getattr(header, name) == getattr(digits, name) for name in Header.__slots__)
    assert header.path.is_absolute()


def test_a_data_set_loads_by_its_path_too(digits):
    assert load_dataset(str(digits.path)).checksum == digits.checksum


def test_loaded_arrays_cannot_be_written_to(digits):
    with pytest.raises(ValueError, match="read-only"):
        digits.train.images[0] = 0


def test_the_safetensors_library_reads_the_same_arrays(digits):
    tensors = load_file(digits.path)
    for split in SPLITS:
        for name in ("images", "labels", "source_index"):
            assert (tensors[f"{split}.{name}"] == getattr(getattr(digits, split), name)).all()
    with safe_open(digits.path, "np") as file:
        assert file.metadata()["format"] == packed.FORMAT


def test_two_processes_that_make_digits_at_once_both_get_them(tmp_path):
    command = [sys.executable, "-c", "from trainer.dataset import load_dataset as l; print(l('digits').checksum)"]
    environment = {**os.environ, "ARBOR_DATA": str(tmp_path)}
    racing = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert len({process.communicate()[0] for process in racing}) == 1
    assert [process.returncode for process in racing] == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".digits.lock", "digits.safetensors"]


def test_without_arbor_data_the_folder_is_runs_data_here(tmp_path, monkeypatch):
    monkeypatch.delenv("ARBOR_DATA")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("digits").path == tmp_path / "runs" / "data" / "digits.safetensors"


def test_a_missing_data_set_names_the_command_that_makes_it():
    with pytest.raises(InputError, match=r"python -m trainer\.dataset prepare cifar10"):
        read_header("cifar10")


def test_a_name_that_cannot_be_one_is_refused():
    with pytest.raises(InputError, match=r"must be of letters, .* got 'a b'"):
        load_dataset("a b")


def test_a_missing_folder_in_arbor_data_is_refused_and_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("ARBOR_DATA", str(tmp_path / "missing"))
    with pytest.raises(InputError, match="ARBOR_DATA must name a folder that exists"):
        load_dataset("digits")
    assert not (tmp_path / "missing").exists()


@pytest.fixture
def copy(digits: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "copy.safetensors"
    path.write_bytes(digits.path.read_bytes())
    return path


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_dataset(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [1, 4000, 5_000_000])
def test_a_truncated_file_is_refused_by_its_header_alone(copy, missing):
    os.truncate(copy, copy.stat().st_size - missing)
    refused(copy, "is damaged: it must have 5550528 bytes")
    with pytest.raises(InputError, match="damaged"):
        read_header(str(copy))


@pytest.mark.parametrize("length", [0, 3, 8, 100])
def test_a_file_that_ends_within_its_header_is_refused(copy, length):
    os.truncate(copy, length)
    refused(copy, "must be a packed file")


@pytest.mark.parametrize("place", [-1, -300_000, 5_000])
def test_one_changed_byte_is_found_by_the_checksum(copy, place):
    content = bytearray(copy.read_bytes())
    content[place] ^= 1
    copy.write_bytes(content)
    refused(copy, "must have the checksum 69dcd74619c7, but has")


def test_changed_metadata_are_found_by_the_checksum(copy):
    content = copy.read_bytes()
    assert content.count(rb"\"flip\": false") == 1
    copy.write_bytes(content.replace(rb"\"flip\": false", rb"\"flip\": true "))
    refused(copy, "must have the checksum")


def test_a_renamed_copy_has_the_same_checksum(copy, digits):
    assert load_dataset(str(copy)).checksum == digits.checksum


def test_foreign_files_are_refused(tmp_path):
    text = tmp_path / "text.safetensors"
    text.write_text("a shopping list " * 1000)
    refused(text, "must be a packed file")
    model = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(3, np.float32)}, model)
    refused(model, "must be a packed file")


def test_another_format_version_is_refused(copy):
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b'"version": "1"', b'"version": "9"'))
    refused(copy, "must have format version 1, but .* has 9")


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=200), seed=st.integers(0, 10))
def test_splits_are_disjoint_complete_stratified_and_the_same_for_a_seed(labels, seed):
    labels = np.array([*labels, *range(4), *range(4), *range(4)])
    parts = cut(labels, (0.10, 0.15), seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for label in range(4):
        of_class = (labels == label).sum()
        for part, share in zip(parts[1:], (0.10, 0.15), strict=True):
            assert (labels[part] == label).sum() == max(1, round(share * of_class))
        assert (labels[parts[0]] == label).any()
    assert all((one == other).all() for one, other in zip(parts, cut(labels, (0.10, 0.15), seed), strict=True))


def test_another_split_seed_gives_another_split():
    labels = np.repeat(np.arange(10), 50)
    assert (cut(labels, (0.1,), 0)[1] != cut(labels, (0.1,), 1)[1]).any()


def test_a_full_disk_is_an_oserror_that_says_so():
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError, match="No space left on device"):  # noqa: PTH123
        packed.write(file, {}, {"images": np.zeros(10**6, np.uint8)})
