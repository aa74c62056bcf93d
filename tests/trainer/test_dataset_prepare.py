"""The command that makes a data set: what it writes, says and survives."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.errors import InputError
from trainer import sources
from trainer.dataset import SPLITS, load_dataset
from trainer.prepare import prepare

LABELS = ("ant", "bee")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    (path := tmp_path / "data").mkdir()
    monkeypatch.setenv("ARBOR_DATA", str(path))
    return path


def pictures(folder: Path, counts: dict[str, int], size: int = 8) -> Path:
    """Class folders with pictures of noise."""
    rng = np.random.default_rng(0)
    for part_and_label, count in counts.items():
        (folder / part_and_label).mkdir(parents=True)
        for number in range(count):
            image = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
            image.save(folder / part_and_label / f"{number:04}.png")
    return folder


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.dataset", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_second_run_says_that_it_is_there_and_leaves_it(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 20))
    first = run("prepare", "own", "--from", source, "--size", "8")
    assert first.returncode == 0, first.stderr
    assert "own is made: 30 train / 4 val / 6 test images of 8x8 in 2 classes" in first.stdout
    before = (folder / "own.safetensors").stat()
    second = run("prepare", "own", "--from", source)
    assert (second.returncode, second.stderr) == (0, "")
    assert "own is there (--force makes it anew)" in second.stdout
    assert (folder / "own.safetensors").stat() == before
    assert names(folder) == [".own.lock", "own.safetensors"]


def test_bad_input_is_one_sentence_and_exit_code_2(folder):
    result = run("prepare", "birds")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_show_and_list_name_what_is_there(folder):
    assert "No data sets in" in run("list").stdout
    shown = run("show", "digits").stdout
    assert "1,349 train / 179 val / 269 test" in shown
    assert "checksum 69dcd74619c7" in shown
    assert "digits" in run("list").stdout


def test_force_makes_it_anew_with_other_options(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 20))
    old, made = prepare("own", source, size=8)
    assert made
    with pytest.raises(InputError, match="is there with --split-seed 0, but got --split-seed 1; add --force"):
        prepare("own", source, split_seed=1)
    with pytest.raises(InputError, match="is there with --size 8, but got --size 16"):
        prepare("own", source, size=16)
    new, made = prepare("own", source, size=8, split_seed=1, flip=False, force=True)
    assert made
    assert (old.flip, new.flip, new.split_seed) == (True, False, 1)
    assert old.checksum != new.checksum


def test_the_same_images_under_another_name_have_the_same_checksum(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 20))
    assert prepare("one", source, size=8)[0].checksum == prepare("two", source, size=8)[0].checksum


def test_without_a_test_part_it_is_cut_out_and_no_image_is_in_two_splits(folder, tmp_path):
    prepare("own", pictures(tmp_path / "own", {"ant": 40, "bee": 60}), size=8)
    data = load_dataset("own")
    assert data.counts == {"train": 75, "val": 10, "test": 15}
    index = np.concatenate([getattr(data, split).source_index for split in SPLITS])
    assert sorted(index) == list(range(100))
    assert np.bincount(data.val.labels).tolist() == [4, 6]
    assert np.bincount(data.test.labels).tolist() == [6, 9]


def test_the_test_part_of_the_source_is_the_test_split(folder, tmp_path):
    source = pictures(tmp_path / "own", {"train/ant": 30, "train/bee": 30, "test/ant": 5, "test/bee": 7})
    prepare("own", source, size=8)
    data = load_dataset("own")
    assert data.counts == {"train": 54, "val": 6, "test": 12}
    assert np.bincount(data.val.labels).tolist() == [3, 3]
    assert data.test.source_index.tolist() == list(range(12))
    with Image.open(source / "test" / "bee" / "0006.png") as image:
        assert (data.test.images[11] == np.asarray(image)).all()
    images = sorted((source / "train").rglob("*.png"))
    for part in (data.train, data.val):
        for place, index in enumerate(part.source_index):
            assert (part.images[place] == np.asarray(Image.open(images[index]))).all()


def test_given_validation_and_test_parts_are_kept(folder, tmp_path):
    counts = {"train/ant": 1, "train/bee": 2, "val/ant": 1, "val/bee": 1, "test/ant": 1, "test/bee": 1}
    assert prepare("own", pictures(tmp_path / "own", counts), size=8)[0].counts == {"train": 3, "val": 2, "test": 2}


def test_a_class_with_too_few_images_for_its_splits_is_refused(folder, tmp_path):
    source = pictures(tmp_path / "own", {"ant": 20, "bee": 2})
    with pytest.raises(InputError, match=r"at least 3 images where train and val and test .* but 'bee' has 2"):
        prepare("own", source, size=8)
    assert names(folder) == [".own.lock"]


@pytest.mark.parametrize(
    ("options", "match"), [({"size": 7}, "from 8 to 1024 pixels, but got 7"), ({"split_seed": -1}, "at least 0")]
)
def test_options_out_of_range_are_refused(folder, tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        prepare("own", tmp_path, **options)


def test_a_path_instead_of_a_name_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="under a name, but got the path"):
        prepare("some/where", tmp_path)


def test_digits_may_be_prepared_by_name_but_not_replaced(folder, tmp_path):
    assert prepare("digits")[1]
    with pytest.raises(InputError, match="the embedded data set; choose another"):
        prepare("digits", tmp_path, force=True)


def test_a_damaged_file_is_not_said_to_be_there(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 20))
    path = prepare("own", source, size=8)[0].path
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(InputError, match=r"is damaged.* prepare own --force"):
        prepare("own", source, size=8)
    assert prepare("own", source, size=8, force=True)[1]


def test_two_commands_that_race_both_end_well(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 300))
    command = [sys.executable, "-m", "trainer.dataset", "prepare", "own", "--from", str(source), "--size", "64"]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].splitlines()[-1].partition(":")[0] for process in racing)
    assert [process.returncode for process in racing] == [0, 0]
    assert said == ["own is made", "own is there (--force makes it anew)"]
    load_dataset("own")
    assert names(folder) == [".own.lock", "own.safetensors"]


def test_a_kill_while_writing_leaves_nothing_half_made_and_the_next_run_cleans_up(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 30))
    command = [sys.executable, "-m", "trainer.dataset", "prepare", "own", "--from", str(source), "--size", "1024"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (partial := list(folder.glob(".own.*.partial"))):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial[0].exists()
    assert not (folder / "own.safetensors").exists()
    with pytest.raises(InputError, match="There is no data set"):
        load_dataset("own")
    assert prepare("own", source, size=8)[1]
    assert names(folder) == [".own.lock", "own.safetensors"]


def test_a_killed_command_leaves_no_worker_process(folder, tmp_path):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 1100))
    command = [sys.executable, "-m", "trainer.dataset", "prepare", "own", "--from", str(source), "--size", "512"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while len(of_session(process.pid)) < 3:  # the command, multiprocessing's tracker, a worker
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    waited_until = time.monotonic() + 60
    while of_session(process.pid) and time.monotonic() < waited_until:
        time.sleep(0.05)
    assert of_session(process.pid) == []


def of_session(session: int) -> list[int]:
    """Processes of a session which are alive."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append(int(stat.parent.name))
    return alive


def test_on_a_full_disk_the_command_says_so_and_leaves_no_half_file(tmp_path, monkeypatch, mount):
    source = pictures(tmp_path / "own", dict.fromkeys(LABELS, 30))
    (small := tmp_path / "small").mkdir()
    mount(small, "size=1m")
    try:
        monkeypatch.setenv("ARBOR_DATA", str(small))
        result = run("prepare", "own", "--from", source, "--size", "256")
        assert result.returncode == 2
        assert "Error: The disk is full" in result.stderr
        assert names(small) == [".own.lock"]
    finally:
        subprocess.run(["umount", small], check=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/there.tar.gz" else 404)
        self.end_headers()
        self.wfile.write(b"something else")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    """A web server on this host with one small file."""
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("file", "match"),
    [("there.tar.gz", "must have the hash md5:0000, but what came has another"), ("not_there.tar.gz", "within reach")],
)
def test_a_fetched_archive_must_be_there_and_have_its_hash(folder, monkeypatch, server, file, match):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    download = sources.Download(url=f"{server}/{file}", hash="md5:0000", bytes=14)
    monkeypatch.setitem(sources.OFFICIAL, "cifar10", download)
    with pytest.raises(InputError, match=f"{match}.*prepare cifar10 --from {file}"):
        prepare("cifar10")
    assert [path for path in (folder / "downloads").rglob("*") if path.is_file()] == []


def test_without_a_network_it_says_to_use_from(folder, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(InputError, match=r"must be within reach, but is not .*--from cifar-100-python\.tar\.gz"):
        prepare("cifar100")


def test_cifar10_from_its_zip_of_class_folders(folder, cifar10_zip):
    header, _ = prepare("cifar10", cifar10_zip)
    assert header.counts == {"train": 45_000, "val": 5_000, "test": 10_000}
    assert header.classes[0] == "airplane"
    assert header.classes[-1] == "truck"
    data = load_dataset("cifar10")
    for split, count in header.counts.items():
        assert np.bincount(getattr(data, split).labels).tolist() == [count // 10] * 10
    sources_of_train = np.concatenate([data.train.source_index, data.val.source_index])
    assert sorted(sources_of_train) == list(range(50_000))
    assert 0.4 < min(header.mean) < max(header.mean) < 0.55
    assert data.flip
