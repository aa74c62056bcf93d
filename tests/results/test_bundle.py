"""`python -m results.bundle`: a trial as one file, and what such a file may not do to the store that takes it in."""

import hashlib
import json
import random
import sqlite3
import sys
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from arch_space.model import ModelConfig
from arch_space.registry import FFN
from results import bundle
from results.believed import SETTINGS
from results.bundled import write_bundle
from results.errors import InputError
from results.frames import load
from results.losses import Loss, with_loss
from results.rows import EpochRow
from results.store import Store
from results.table import variants
from results.tuned import GIVEN, LR_TUNING
from results.unbundled import open_bundle
from trainer.config import TrialConfig
from trainer.fingerprint import fingerprint

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def packed(tmp_path):
    """A bundle of a trial that was stopped, with a folder, code from outside and numbers that want all their bits."""
    kind = tmp_path / "own_kind.py"
    kind.write_text("raise SystemExit('loaded')\n")
    with new_store(tmp_path) as store:
        name = search(store, rungs=(1,), variants=[str(kind)])
        of = trial(store, name, [1 / 3, 0.1 + 0.2], status="stopped", ffn="fff")
        folder = tmp_path / name / "001-fff"
        folder.mkdir(parents=True)
        (folder / "selected.pt").write_bytes(b"weights" * 1000)
        np.savez_compressed(folder / "predictions.npz", val=np.zeros(5, dtype=np.uint8))
        store.update_trial(
            of, provenance={"folder": str(folder), "git_commit": "c" * 40, "variant_source": "x = 'é'\n"}
        )
        store.update_search(name, provenance={"diff": "+ line"}, notes="a note")
        url = store.url
    path = tmp_path / "one.zip"
    done = CliRunner().invoke(bundle.app, [of, "--storage", url, "-o", str(path)])
    assert done.exit_code == 0, done.exception
    return path


@pytest.fixture
def fresh(tmp_path):
    """A store in a folder of its own."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with new_store(folder) as store:
        yield store


def changed(path, change):
    """A copy of a bundle whose files a function changes; the checksums of its manifest are made right again."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    content = change(content) or content
    head = json.loads(content["bundle.json"])
    for name, data in content.items():
        if name != "bundle.json":
            head["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    head["files"] = {name: said for name, said in head["files"].items() if name in content}
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as file:
        for name, data in {**content, "bundle.json": json.dumps(head).encode()}.items():
            file.writestr(name, data)
    return target


def test_a_bundle_has_all_of_the_trial_and_opens_as_it_was(packed, fresh, tmp_path):
    with zipfile.ZipFile(packed) as file:
        assert set(file.namelist()) == {
            "bundle.json", "README.md", "search.json", "trial.json", "curve.csv", "decisions.csv", "selected.pt",
            "predictions.npz", "code/changes.diff", "code/variant.py", "code/variants/own_kind.py",
        }  # fmt: skip
    found = open_bundle(packed, fresh)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        old, old_curve, (old_decision,) = store.trial("toy-1.1"), store.epochs("toy-1.1"), store.decisions("toy-1")
    new = fresh.trial(found.trial)
    own = ("id", "search_id", "created", "provenance")
    assert {k: v for k, v in asdict(new).items() if k not in own} == {
        k: v for k, v in asdict(old).items() if k not in own
    }
    assert fresh.epochs(new.id) == old_curve
    (decision,) = fresh.decisions(new.search_id)
    assert asdict(decision) == {**asdict(old_decision), "trial_id": new.id}
    folder = Path(new.provenance["folder"])
    assert folder.parent == Path(fresh.url.removeprefix("sqlite:///")).parent / new.search_id
    assert (folder / "selected.pt").read_bytes() == b"weights" * 1000
    assert new.provenance["bundle"]["trial"] == "toy-1.1"
    assert "imported" in fresh.search(new.search_id).tags
    assert len(variants(load(fresh.url), new.search_id).rows) == 1


def test_what_a_trial_and_its_search_record_of_their_origin_comes_along_and_no_process_of_there(tmp_path, fresh):
    process = fingerprint(torch.device("cpu"), 2)
    diff = process.pop("diff", "+ line")
    of_trial = {
        **process, "data_checksum": "d" * 16, "precision": "fp32", "workers": 2, "optimizer": "AdamW(fused=None)",
        "variant_source": "x = 'é'\n", "gpu_memory_bytes": None, "attempt": 2, GIVEN: "a" * 10, LR_TUNING: 1e-3,
    }  # fmt: skip
    for loss in (Loss(epoch=0, cause="the worker died"), Loss(epoch=1, cause="memory was full", accumulation=2)):
        of_trial |= with_loss(of_trial, loss)
    changes = [{"at": "2026-01-01T00:00:00+00:00", "changed": ["threads: 1 -> 2"], "accepted": [], "outside": 1}]
    of_search = {
        **process, "diff": diff, "command": "python -m search.run toy", "changes": changes, "variant_hashes": {"a": "b"},
    }  # fmt: skip
    with new_store(tmp_path) as store:
        of = trial(store, search(store), [0.5])
        store.update_trial(of, provenance={**of_trial, "folder": "/there", "data_path": "/there", "unheard_of": [1]})
        store.update_search("toy-1", provenance={**of_search, "driver_pid": 1, "driver_started": 1.0, "unheard_of": 1})
        write_bundle(store, of, tmp_path / "one.zip")
    found = fresh.trial(open_bundle(tmp_path / "one.zip", fresh).trial)
    own = {"folder": found.provenance["folder"], "bundle": found.provenance["bundle"]}
    assert found.provenance == {**of_trial, **own}
    there = fresh.search(found.search_id).provenance
    assert there == {**of_search, "bundle": {"of": "toy-1.1", "file": "one.zip"}}


@pytest.mark.parametrize("kind", FFN.kinds())
def test_every_setting_of_a_trial_comes_along(tmp_path, fresh, kind):
    config = TrialConfig.from_flat({"ffn": kind, "patience": 3, "zero_stage": 1}).to_flat()
    own = {*(f.name for f in fields(TrialConfig)), *(f.name for f in fields(ModelConfig))} - {"model"}
    assert {key for key in config if not key.startswith("ffn.")} == own == SETTINGS.keys()
    with new_store(tmp_path) as store:
        of = trial(store, search(store), [0.5], ffn=kind)
        store.update_trial(of, config=config)
        write_bundle(store, of, tmp_path / "one.zip")
    assert fresh.trial(open_bundle(tmp_path / "one.zip", fresh).trial).config == config


def test_an_epoch_with_the_visits_of_very_many_leaves_comes_along(tmp_path, fresh):
    visits = {f"blocks.{block}.ffn": [[1] * 4096] for block in range(16)}  # more than Python's csv takes for a cell
    row = EpochRow(**{**asdict(_epoch()), "extra": {"trees": {"leaf_entropy": 0.5, "leaf_visits": visits}}})
    with new_store(tmp_path) as store:
        of = trial(store, search(store), [])
        store.commit_report(of, row, None, status="finished")
        write_bundle(store, of, tmp_path / "one.zip")
    assert fresh.epochs(open_bundle(tmp_path / "one.zip", fresh).trial) == [row]


def test_a_second_database_in_the_folder_takes_the_bundle_into_a_folder_of_its_own(packed, fresh, tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/elsewhere/second.db") as second:
        folders = {
            Path(store.trial(open_bundle(packed, store).trial).provenance["folder"]) for store in (fresh, second)
        }
    assert len(folders) == 2
    assert all((folder / "selected.pt").read_bytes() == b"weights" * 1000 for folder in folders)


def test_a_bundle_is_taken_in_once(packed, fresh):
    first = open_bundle(packed, fresh)
    again = open_bundle(packed, fresh)
    assert (first.was_there, again.was_there, again.trial) == (False, True, first.trial)
    assert len(fresh.searches()) == 1


def test_code_of_a_bundle_is_loaded_by_nobody_unless_it_is_trusted(packed, fresh, tmp_path):
    found = open_bundle(packed, fresh)
    assert found.untrusted == ["code/variants/own_kind.py"]
    assert fresh.search(found.trial.rpartition(".")[0]).settings["variants"] == []
    folder = tmp_path / "trusting"
    folder.mkdir()
    with new_store(folder) as store:
        trusted = open_bundle(packed, store, trust_code=True)
        (path,) = store.search(trusted.trial.rpartition(".")[0]).settings["variants"]
    assert trusted.untrusted == []
    assert Path(path).read_text() == "raise SystemExit('loaded')\n"


def without(name):
    def change(content):
        del content[name]

    return change


def with_file(name, data=b"x"):
    return lambda content: {**content, name: data}


def of_trial(**columns):
    def change(content):
        content["trial.json"] = json.dumps({**json.loads(content["trial.json"]), **columns}).encode()

    return change


def of_search(**columns):
    def change(content):
        content["search.json"] = json.dumps({**json.loads(content["search.json"]), **columns}).encode()

    return change


def of_config(**keys):
    return lambda content: of_trial(config={**json.loads(content["trial.json"])["config"], **keys})(content)


def of_origin(**entries):
    """With other entries in the trial's provenance."""
    return lambda content: of_trial(provenance={**json.loads(content["trial.json"])["provenance"], **entries})(content)


def of_leaves(**said):
    def change(content):
        text = json.dumps({"trees": said}).replace('"', '""')
        content["curve.csv"] = content["curve.csv"].replace(b",{}\n", f',"{text}"\n'.encode(), 1)

    return change


def again(content):
    """The decision that is there, a second time."""
    content["decisions.csv"] += content["decisions.csv"].splitlines(keepends=True)[-1]


@pytest.mark.parametrize(
    "change",
    [
        with_file("../outside.txt"),
        with_file("/tmp/outside.txt"),
        with_file("code/variants/../../../outside.py"),
        with_file("code\\outside.py"),
        with_file("more.txt"),
        with_file("code/variants/large.py", b" " * 1_000_001),
        without("curve.csv"),
        without("trial.json"),
        with_file("trial.json", b"[]"),
        with_file("trial.json", b'{"val_acc": NaN}'),
        with_file("trial.json", b"[" * 100_000),
        with_file("curve.csv", b"epoch\n1\n"),
        with_file("decisions.csv", b"\xff\xfe"),
        of_trial(status="running"),
        of_trial(val_acc="high"),
        of_trial(parameters=1.5),
        of_trial(config={"ffn": ["a", "list"]}),
        of_trial(ended="yesterday"),
        of_trial(parameters=2**70),
        of_trial(config={"ffn": "mlp", "seed": "first"}),
        with_file("search.json", b'{"settings": {"lr": 1e999}}'),
        of_trial(status=[1]),
        of_trial(cause="\ud800"),
        of_trial(cause="a\0b"),
        of_trial(best_epoch=2**31),
        of_trial(val_acc=1e308),
        of_trial(wall_seconds=1e308),
        of_trial(started="0001-01-01T00:00:00+23:00"),
        of_trial(provenance=[1]),
        of_config(ffn="\ud800"),
        of_config(lr=10**400),
        of_config(lr="high"),
        of_config(epochs=2.5),
        of_config(data=5),
        of_config(rank=1),
        of_config(**{"ffn.": 5}),
        of_config(seed=True),
        of_config(**{"\ud800": 1}),
        of_origin(losses=[1]),
        of_origin(losses=5),
        of_origin(losses=[{"epoch": "x", "cause": "c"}]),
        of_origin(losses=[{"epoch": 1, "cause": "c", "more": 1}]),
        of_origin(losses=[{"epoch": 1, "cause": "c", "accumulation": [2]}]),
        of_origin(losses=[{"epoch": 1, "cause": "c", "accumulation": 0}]),
        of_origin(source_hash=[1]),
        of_origin(given_variant=[1]),
        of_origin(lr_tuning="x"),
        of_origin(gpu={"a": 1}),
        of_origin(hostname=[1]),
        of_origin(versions=["torch"]),
        of_origin(versions={"torch": [1]}),
        of_origin(threads="many"),
        of_origin(git_commit={}),
        of_origin(data_checksum=5),
        of_search(settings=[1]),
        of_search(settings=None),
        of_search(provenance=[1]),
        of_search(provenance={"changes": 5}),
        of_search(provenance={"command": ["x"]}),
        of_search(question="\ud800"),
        of_search(notes=5),
        with_file("search.json", b'{"settings": ' + b'{"a": ' * 50 + b"1" + b"}" * 50 + b', "provenance": {}}'),
        of_leaves(leaf_visits=5),
        of_leaves(leaf_visits={"block": [[1, 2], [1]]}),
        of_leaves(modules={"block": {"leaf_entropy": "much"}}),
        again,
        lambda content: {
            **content,
            "decisions.csv": content["decisions.csv"].replace(b",2,asha", b",9999999999999999999,asha"),
        },
    ],
)
def test_a_bundle_that_was_tampered_with_is_refused_in_one_sentence_and_leaves_nothing(packed, fresh, change):
    target = changed(packed, change)
    place = Path(fresh.url.removeprefix("sqlite:///")).parent
    before = sorted(place.rglob("*"))
    with pytest.raises(InputError, match=r"^The (bundle|file) .*; ask for it again\.$"):
        open_bundle(target, fresh)
    assert fresh.searches() == []
    assert sorted(place.rglob("*")) == before
    assert not Path("/tmp/outside.txt").exists()


def test_a_changed_byte_is_found_by_its_checksum(packed, fresh, tmp_path):
    with zipfile.ZipFile(packed) as file:
        content = {name: file.read(name) for name in file.namelist()}
    target = tmp_path / "byte.zip"
    with zipfile.ZipFile(target, "w") as file:
        for name, data in content.items():
            file.writestr(name, b"Weights" + data[7:] if name == "selected.pt" else data)
    with pytest.raises(InputError, match=r"selected\.pt does not have its checksum"):
        open_bundle(target, fresh)


def test_what_a_bundle_says_of_an_import_or_a_driver_is_not_taken_over(packed, fresh):
    found = open_bundle(changed(packed, of_origin(imported="x", driver_pid=1, folder="/etc", bundle="x")), fresh)
    said = fresh.trial(found.trial).provenance
    assert said.keys().isdisjoint({"imported", "driver_pid"})
    assert (Path(said["folder"]).name, said["bundle"]["trial"]) == ("001-fff", "toy-1.1")
    assert len(load(fresh.url).trials) == 1


def test_a_byte_that_is_changed_anywhere_or_an_end_that_is_missing_is_refused_in_one_sentence(packed, fresh, tmp_path):
    draw, whole, target = random.Random(0), packed.read_bytes(), tmp_path / "damaged.zip"
    directory = whole.index(b"PK\x01\x02")  # names, sizes, offsets and ways of packing
    sentences = []
    for number in range(600):
        damaged = bytearray(whole)
        if number % 6 == 0:
            del damaged[draw.randrange(len(whole)) :]
        else:
            damaged[draw.randrange(directory if number % 2 else 0, len(whole))] = draw.randrange(256)
        target.write_bytes(damaged)
        try:
            open_bundle(target, fresh)
        except InputError as error:
            sentences.append(str(error))
    assert len(sentences) > 200
    assert not [sentence for sentence in sentences if "\n" in sentence]
    assert len(fresh.searches()) <= 1  # a byte that says nothing, such as one of a time, changes nothing


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bundle_is_packed_as_we_pack_it(packed, fresh, tmp_path, way):
    target = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed) as file, zipfile.ZipFile(target, "w", way) as other:
        for name in file.namelist():
            other.writestr(name, file.read(name))
    with pytest.raises(InputError, match="is packed in another way than bundles are"):
        open_bundle(target, fresh)


def test_where_the_rows_cannot_be_written_no_file_stays_either(packed, fresh):
    database = Path(fresh.url.removeprefix("sqlite:///"))
    with sqlite3.connect(database) as connection:
        connection.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    connection.close()
    before = sorted(database.parent.rglob("*"))
    with pytest.raises(IntegrityError, match="refused"):
        open_bundle(packed, fresh, trust_code=True)
    assert fresh.searches() == []
    assert sorted(database.parent.rglob("*")) == before


def test_foreign_files_and_newer_bundles_are_refused_in_one_sentence(packed, fresh, tmp_path):
    def newer(content):
        content["bundle.json"] = content["bundle.json"].replace(b'"version": 1', b'"version": 2')

    text = tmp_path / "text.zip"
    text.write_text("no zip")
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("a.txt", "a")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(packed.read_bytes()[:1500])
    for path, sentence in (
        (text, "is damaged or not a bundle"),
        (other, "is no bundle, or part of one"),
        (cut, "is no bundle, or part of one|is damaged or not a bundle"),
        (changed(packed, newer), "has version 2, and this Arbor reads version 1"),
        (tmp_path / "none.zip", "There is no file"),
        (tmp_path, "A bundle is a file"),
    ):
        with pytest.raises(InputError, match=sentence):
            open_bundle(path, fresh)
    assert fresh.searches() == []


def test_what_cannot_be_bundled_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new_store(tmp_path) as store:
        name = search(store)
        trial(store, name, [0.5])
        store.commit_report(trial(store, name, [], status="running"), _epoch(), None)
        url = store.url
    Path("toy-1.1.zip").write_text("mine")
    for arguments, sentence in (
        (["toy-1.1"], "There is a file toy-1.1.zip already"),
        (["toy-1.2"], "needs a trial that has ended, but toy-1.2 is running"),
        (["toy-1.3"], "Unknown trial 'toy-1.3'"),
        (["toy-1.1", "-o", "no/such.zip"], "The folder no does not exist"),
        ([], "Give either a trial to bundle, or a file"),
        (["toy-1.1", "--open", "x.zip"], "Give either a trial to bundle, or a file"),
    ):
        found = CliRunner().invoke(bundle.app, [*arguments, "--storage", url])
        assert isinstance(found.exception, InputError), found.output
        assert str(found.exception).startswith(sentence) or sentence in str(found.exception)
    assert Path("toy-1.1.zip").read_text() == "mine"


def _epoch():
    return EpochRow(
        epoch=1,
        train_loss=1.0,
        val_loss=1.0,
        val_acc=0.5,
        lr=1e-3,
        train_seconds=1.0,
        val_seconds=0.1,
        images_per_second=1.0,
    )
