"""Sources of every kind, in small, and each way in which they can be bad."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.errors import InputError
from trainer.archives import open_archive
from trainer.cifar import version_of
from trainer.progress import Silent
from trainer.source import Source
from trainer.sources import read_source

PER_BATCH = 20
CLASSES = [f"class{number}" for number in range(10)]


def read(path: Path, size: int | None = None) -> Source:
    return read_source("own", path, size, Silent())


def refused(path: Path, match: str, size: int | None = None) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(path, size)
    assert "\n" not in str(caught.value)


# CIFAR as published


def cifar_pixels(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (PER_BATCH, 3072), dtype=np.uint8)


def cifar_labels(batch: int) -> list[int]:
    return [(batch + place) % 10 for place in range(PER_BATCH)]


BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def python2_pickle(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2.7 and numpy 1 pickled it (protocol 2), which is how the official files were written."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01M%sM%s\x86"
        % (struct.pack("<H", pixels.shape[0]), struct.pack("<H", pixels.shape[1]))
        + b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", pixels.nbytes)
        + pixels.tobytes()
        + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels" + listed + b"u."


def cifar10_files(version: str) -> dict[str, bytes]:
    files = {}
    for number, name in enumerate(BATCHES):
        pixels, labels = cifar_pixels(number), cifar_labels(number)
        if version == "binary":
            records = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1)
            files[f"cifar-10-batches-bin/{name}.bin"] = records.tobytes()
        elif version == "python 2":
            files[f"cifar-10-batches-py/{name}"] = python2_pickle(pixels, labels)
        else:
            batch = {b"data": pixels, b"labels": labels, b"batch_label": name.encode()}
            files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, protocol=int(version.split()[-1]))
    if version == "binary":
        files["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(CLASSES).encode() + b"\n\n"
    else:
        meta = {b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072}
        files["cifar-10-batches-py/batches.meta"] = pickle.dumps(meta, protocol=2)
    return files


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("version", ["python 2", "protocol 2", "protocol 4", "binary"])
@pytest.mark.parametrize("form", ["tar.gz", "folder", "inner folder", "zip"])
def test_cifar10_as_published_is_read_in_every_form(tmp_path, version, form):
    files = cifar10_files(version)
    if form == "tar.gz":
        source = read(write_tar(tmp_path / "cifar.tar.gz", files))
    elif form == "zip":
        source = read(write_zip(tmp_path / "cifar.zip", files))
    else:
        folder = write_folder(tmp_path, files)
        source = read(next(folder.iterdir()) if form == "inner folder" else folder)
    assert source.classes == tuple(CLASSES)
    expected = np.concatenate([cifar_pixels(number) for number in range(5)]).reshape(-1, 3, 32, 32)
    assert (source.train.images == expected.transpose(0, 2, 3, 1)).all()
    assert source.train.labels.tolist() == [label for number in range(5) for label in cifar_labels(number)]
    assert source.test is not None
    assert (source.test.images == cifar_pixels(5).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)).all()
    assert source.test.labels.tolist() == cifar_labels(5)


@pytest.mark.parametrize("version", ["python", "binary"])
def test_cifar100_as_published_has_the_fine_labels(tmp_path, version):
    names = [f"fine{number}" for number in range(100)]
    fine, coarse = list(range(80, 100)), [3] * PER_BATCH
    if version == "python":
        batch = {b"data": cifar_pixels(0), b"fine_labels": fine, b"coarse_labels": coarse}
        files = {f"cifar-100-python/{part}": pickle.dumps(batch, protocol=2) for part in ("train", "test")}
        files["cifar-100-python/meta"] = pickle.dumps({b"fine_label_names": [name.encode() for name in names]}, 2)
    else:
        records = np.concatenate([np.array([coarse, fine], np.uint8).T, cifar_pixels(0)], axis=1).tobytes()
        files = {f"cifar-100-binary/{part}.bin": records for part in ("train", "test")}
        files["cifar-100-binary/fine_label_names.txt"] = "\n".join(names).encode()
    source = read(write_tar(tmp_path / "cifar-100.tar.gz", files))
    assert source.classes == tuple(names)
    assert source.train.labels.tolist() == fine
    assert (source.train.images[3] == cifar_pixels(0)[3].reshape(3, 32, 32).transpose(1, 2, 0)).all()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["data_batch_2", "batches.meta"])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, where):
    files = cifar10_files("python 2")
    files[f"cifar-10-batches-py/{where}"] = pickle.dumps(Evil(tmp_path / "made"), protocol=2)
    refused(write_tar(tmp_path / "evil.tar.gz", files), f"{where} is damaged, or is something else .*mkdir")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        ({b"data": cifar_pixels(0)}, "has no entry 'labels'"),
        ({b"labels": cifar_labels(0)}, "has no entry 'data'"),
        ({b"data": cifar_pixels(0)[:, :100], b"labels": cifar_labels(0)}, "no uint8 array of 3072 columns"),
        ({b"data": cifar_pixels(0).astype(float), b"labels": cifar_labels(0)}, "no uint8 array of 3072 columns"),
        ({b"data": cifar_pixels(0), b"labels": [0]}, "list of 20 whole numbers"),
        ({b"data": cifar_pixels(0), b"labels": [99] * PER_BATCH}, "has labels from 0 to 99 for 10 classes"),
        ([], "has no entry 'data'"),
    ],
)
def test_a_batch_with_other_content_is_refused(tmp_path, batch, match):
    files = cifar10_files("python 2")
    files["cifar-10-batches-py/data_batch_1"] = pickle.dumps(batch, protocol=2)
    refused(write_folder(tmp_path, files), match)


def test_truncated_batches_are_refused(tmp_path):
    files = cifar10_files("python 2")
    files["cifar-10-batches-py/data_batch_4"] = files["cifar-10-batches-py/data_batch_4"][:5000]
    refused(write_folder(tmp_path / "py", files), "data_batch_4 is damaged")
    files = cifar10_files("binary")
    files["cifar-10-batches-bin/data_batch_4.bin"] = files["cifar-10-batches-bin/data_batch_4.bin"][:5000]
    refused(write_folder(tmp_path / "bin", files), "data_batch_4.bin has 5000 bytes, no multiple of 3073")


def test_a_missing_batch_is_named(tmp_path):
    files = cifar10_files("binary")
    del files["cifar-10-batches-bin/data_batch_3.bin"]
    refused(write_folder(tmp_path, files), "lacks data_batch_3.bin")


def test_a_truncated_archive_is_refused(tmp_path):
    path = write_tar(tmp_path / "cifar.tar.gz", cifar10_files("binary"))
    path.write_bytes(path.read_bytes()[:-20_000])
    refused(path, "that is whole, but")


def test_another_size_of_published_cifar_is_refused(tmp_path):
    refused(write_folder(tmp_path, cifar10_files("binary")), '"--size" must be 32', size=16)


# class folders


def picture(value: int, size: tuple[int, int] = (32, 32), kind: str = "PNG", mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    color = value if mode in {"L", "I;16"} else (value, 0, 255 - value)
    Image.new(mode, size, color).save(stream, kind)
    return stream.getvalue()


def class_folders(prefix: str, labels: tuple[str, ...], count: int) -> dict[str, bytes]:
    return {
        f"{prefix}{label}/{number:02}.png": picture(10 * place + number)
        for place, label in enumerate(labels)
        for number in range(count)
    }


LABELS = ("ant", "bee", "cat")


@pytest.mark.parametrize("form", ["zip", "folder"])
@pytest.mark.parametrize("top", ["", "pictures/", "one/two/"])
def test_class_folders_with_parts_are_read_in_the_order_of_their_names(tmp_path, form, top):
    files = class_folders(f"{top}test/", LABELS, 2) | class_folders(f"{top}train/", LABELS, 4)
    source = read(write_zip(tmp_path / "a.zip", files) if form == "zip" else write_folder(tmp_path / "a", files))
    assert source.classes == LABELS
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert source.train.images[:, 0, 0].tolist() == [
        [10 * c + n, 0, 255 - 10 * c - n] for c in range(3) for n in range(4)
    ]
    assert source.test is not None
    assert source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.val is None


def test_a_validation_part_of_the_source_is_kept(tmp_path):
    files = class_folders("train/", LABELS, 4) | class_folders("valid/", LABELS, 3)
    source = read(write_folder(tmp_path, files))
    assert source.val is not None
    assert (len(source.val.labels), source.test) == (9, None)


def test_class_folders_without_parts_are_one_part(tmp_path):
    source = read(write_folder(tmp_path, class_folders("", ("bus", "train"), 3)))
    assert (source.classes, len(source.train.labels), source.test) == (("bus", "train"), 6, None)


def test_images_in_folders_under_a_class_belong_to_it_and_other_files_to_nothing(tmp_path):
    files = class_folders("", LABELS, 2) | {
        "ant/more/x.JPEG": picture(9, kind="JPEG"),
        "ant/notes.txt": b"no image",
        ".hidden/x.png": b"no image",
        "__MACOSX/ant/._00.png": b"no image",
    }
    source = read(write_zip(tmp_path / "a.zip", files))
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_other_sizes_and_modes_become_rgb_of_the_size_by_shorter_side_and_centre(tmp_path):
    files = class_folders("", LABELS, 1)
    wide = Image.new("RGB", (80, 40), (255, 0, 0))
    wide.paste((0, 0, 255), (20, 0, 60, 40))  # the centre is blue
    wide.save(stream := io.BytesIO(), "PNG")
    files |= {"ant/wide.png": stream.getvalue(), "ant/grey.png": picture(77, (8, 8), mode="L")}
    source = read(write_folder(tmp_path, files), size=16)
    assert source.train.images.shape == (5, 16, 16, 3)
    grey, blue = source.train.images[1], source.train.images[2]
    assert (grey == 77).all()
    assert blue[:, 2:-2].reshape(-1, 3).tolist() == [[0, 0, 255]] * (16 * 12)


def test_links_to_class_folders_are_followed_and_circles_end(tmp_path):
    kept = write_folder(tmp_path / "kept", class_folders("", LABELS, 2))
    (linked := tmp_path / "linked").mkdir()
    for label in LABELS:
        (linked / label).symlink_to(kept / label)
    (kept / "ant" / "circle").symlink_to(kept)
    assert len(read(linked).train.labels) == 6 + 4  # through the circle, bee's and cat's once more


def test_an_image_that_cannot_be_read_is_named(tmp_path):
    whole = class_folders("", LABELS, 2)
    for name, content in {"bee/torn.jpg": picture(1, (64, 64), "JPEG")[:300], "cat/text.png": b"no image"}.items():
        folder = tmp_path / Path(name).stem
        refused(write_folder(folder, whole | {name: content}), f"must be readable, but .*{name} is")
        refused(write_zip(tmp_path / f"{folder.name}.zip", whole | {name: content}), f"must be readable, but .*{name}")


def test_an_unreadable_image_among_many_is_named_by_a_worker_process(tmp_path):
    files = {f"{label}/{number:04}.png": picture(3, (8, 8)) for label in LABELS for number in range(700)}
    refused(
        write_zip(tmp_path / "a.zip", files | {"cat/0500.png": b"torn"}), r"must be readable, but .*cat/0500\.png", 8
    )


def test_an_image_of_16_bits_is_refused(tmp_path):
    files = class_folders("", LABELS, 2) | {"ant/deep.png": picture(5, mode="I;16")}
    refused(write_folder(tmp_path, files), "must have 8 bits a channel, but .*deep.png")


def test_an_empty_class_folder_is_named(tmp_path):
    folder = write_folder(tmp_path / "a", class_folders("train/", LABELS, 2) | class_folders("test/", LABELS, 1))
    (folder / "test" / "bee" / "00.png").unlink()
    refused(folder, "must have images .* but 'test/bee' of .* has none")
    zipped = write_zip(tmp_path / "a.zip", class_folders("", LABELS, 2) | {"dog/": b""})
    refused(zipped, "but 'dog' of .* has none")


def test_parts_with_other_classes_are_refused(tmp_path):
    files = class_folders("train/", LABELS, 2) | class_folders("test/", LABELS[:2], 1)
    refused(write_folder(tmp_path / "a", files), "'test' of .* lacks 'cat'")
    files = class_folders("train/", LABELS[:2], 2) | class_folders("test/", LABELS, 1)
    refused(write_folder(tmp_path / "b", files), "'train' of .* lacks 'cat'")


def test_a_test_part_without_a_training_part_is_refused(tmp_path):
    files = class_folders("val/", LABELS, 2) | class_folders("test/", LABELS, 1)
    refused(write_folder(tmp_path, files), 'must be folders "train"')


def test_a_folder_without_class_folders_is_refused(tmp_path):
    refused(tmp_path, "at least 2 class folders")
    refused(write_folder(tmp_path / "flat", {"a.png": picture(1), "b.png": picture(2)}), "at least 2 class folders")
    refused(write_folder(tmp_path / "one", class_folders("", ("ant",), 3)), "at least 2 class folders")


def test_missing_damaged_and_other_files_are_refused(tmp_path):
    refused(tmp_path / "missing", "that exists, but got")
    (text := tmp_path / "a.txt").write_text("no archive")
    refused(text, "must name a folder, a zip or a tar archive that is whole")
    path = write_zip(tmp_path / "a.zip", class_folders("", LABELS, 2))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "that is whole")
    path.write_bytes(whole.replace(b"IDAT", b"IDAB"))
    refused(path, "must be readable, but ant/00.png")


def test_class_folders_in_a_tar_archive_are_refused_with_the_way_out(tmp_path):
    refused(write_tar(tmp_path / "a.tar", class_folders("", LABELS, 2)), "unpack it and give its folder")


def test_a_name_of_ones_own_needs_a_source():
    with pytest.raises(InputError, match=r"python -m trainer\.dataset prepare birds --from PATH"):
        read_source("birds", None, None, Silent())


def test_class_folders_are_not_taken_for_cifar(tmp_path):
    folder = write_folder(tmp_path, class_folders("train/", LABELS, 2) | class_folders("test/", LABELS, 1))
    assert version_of(open_archive(folder)) is None
