"""Results of the predecessor: every readable block goes in, what is missing is null, what is broken is named by its line."""

import json
import math
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from results.blocks import read_blocks
from results.comparison import compare
from results.errors import InputError
from results.frames import load
from results.ingest import ingest
from results.screen import print_table
from results.store import Store
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import search, trial

REPOSITORY = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def block(**fields):
    """A block as the predecessor's writer lays it out: names to the right, empty ones left out."""
    return "Experiment:\n" + "".join(f"\t{name:>16}: {value}\n" for name, value in fields.items()) + "\n"


def full(**changes):
    """A block with every field of the oldest form."""
    fields = {
        "name": "vary_depth", "notes": "exp_depth.sh", "arch": "vit_tiny", "params": "patch_size=4,dim=512,depth=4,heads=6",
        "best_val_acc": "85.5", "best_train_loss": "0.25", "best_val_loss": "0.5", "end_epoch": "299",
        "train_seconds": "371.25", "num_params": "4371438", "git_hash": COMMIT, "timestamp": "2023-12-04 01:16:18",
        "seed": "1069170647", **changes,
    }  # fmt: skip
    return block(**{name: value for name, value in fields.items() if value is not None})


def taken(tmp_path, text, name="results.txt"):
    """The file's search, its rows and the frames after an import into a store that was not there."""
    (tmp_path / name).write_text(text)
    url = f"sqlite:///{tmp_path}/arbor.db"
    found = ingest(tmp_path / name, url)
    with Store.open(url, create=False) as store:
        return found, store.search(found.search), store.trials(found.search), load(url)


def test_a_block_becomes_a_finished_trial_with_its_accuracy_in_a_column_of_its_own(tmp_path):
    found, own, (row,), frames = taken(tmp_path, full())
    assert (found.search, found.trials, found.malformed) == ("imported-results-1", 1, [])
    assert (own.status, own.tags, own.settings["imported"]["format"]) == ("ended", ["imported"], "cifar10deepspeed")
    assert (row.status, row.seed, row.parameters, row.wall_seconds) == ("finished", 1069170647, 4371438, 371.25)
    assert row.epochs == 300, "the file counts epochs from 0"
    assert row.ended == datetime(2023, 12, 4, 1, 16, 18, tzinfo=UTC)
    assert (row.val_acc, row.best_val_acc, row.test_acc, row.val_loss, row.train_loss) == (None,) * 5
    assert (row.provenance["git_commit"], row.provenance["imported"]["line"]) == (COMMIT, 1)
    assert row.provenance["imported"]["best_test_loss"] == 0.5
    assert row.config["params.dim"] == 512
    assert frames.trials["best_test_acc"].tolist() == [pytest.approx(0.855)]


def test_missing_fields_and_values_that_are_not_finite_are_null_and_every_block_counts(tmp_path):
    text = (
        full(best_train_loss="nan", best_val_loss="inf")
        + full(best_val_acc="-inf", seed=None, num_params=None, end_epoch=None, train_seconds=None, timestamp="once")
        + block(arch="mamba")
        + full(seed="None", git_hash="Git hash unavailable", notes=None)
    )
    found, _, rows, frames = taken(tmp_path, text)
    assert (found.trials, found.malformed) == (4, [])
    assert {row.status for row in rows} == {"finished"}
    first, second, third, fourth = (row.provenance["imported"] for row in rows)
    assert (first["best_train_loss"], first["best_test_loss"], first["best_test_acc"]) == (None, None, 0.855)
    assert (second["best_test_acc"], second["seed"], second["last_epoch"]) == (None, None, None)
    assert (rows[1].parameters, rows[1].wall_seconds, rows[1].ended) == (None, None, None)
    assert third["fields"] == {"arch": "mamba"}
    assert (fourth["seed"], fourth["git_commit"]) == (None, None)
    assert frames.trials["seed"].isna().tolist() == [False, True, True, True]
    assert json.dumps(rows[0].provenance, allow_nan=False)


def test_trials_without_a_seed_and_with_one_seed_all_count_as_measurements(tmp_path):
    text = "".join(
        full(best_val_acc=value, seed=seed) for value, seed in (("80", None), ("82", None), ("84", "1"), ("86", "1"))
    )
    found, _, _, frames = taken(tmp_path, text)
    (row,) = variants(frames, found.search).rows.to_dict("records")
    assert (row["seeds"], row["planned"], row["best_test_acc"]) == (4, 4, pytest.approx(0.83))
    # deviation of 80 82 84 86 is 2.582; t(0.975, 3) = 3.1824
    assert row["best_test_interval"] == pytest.approx(0.02582 * 3.1824 / 2, abs=1e-4)


def test_an_imported_accuracy_has_no_rank_and_stands_beside_no_validation_unless_told(tmp_path):
    found, _, _, frames = taken(tmp_path, full(best_val_acc="99") + full(best_val_acc="98", arch="mamba"))
    table = variants(frames, found.search)
    assert table.rows["rank"].isna().all()
    assert table.rows["val_acc"].isna().all()
    assert any("Imported rows have no rank" in note for note in table.notes)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        own = search(store)
        trial(store, own, [0.5])
    frames = load(f"sqlite:///{tmp_path}/arbor.db")
    with pytest.raises(InputError, match=r"differ in imported \(no in toy-1, cifar10deepspeed in imported-results-1\)"):
        variants(frames, [own, found.search])
    mixed = variants(frames, [own, found.search], mix=True).rows
    assert mixed["rank"].notna().tolist() == [True, False, False]
    with pytest.raises(InputError, match="compare imported ones with one another"):
        compare(frames, [f"{own}.1", f"{found.search}.1"], mix=True)


def test_runs_of_different_commits_are_not_averaged(tmp_path):
    text = full() + full(git_hash="f" * 40) + full()
    found, _, _, frames = taken(tmp_path, text)
    assert sorted(variants(frames, found.search).rows["seeds"]) == [1, 2]


def test_fields_that_nobody_knows_are_kept_and_cannot_take_the_place_of_ours(tmp_path):
    later = {"lr": "0.001", "optimizer": "AdamW", "max_epochs": "300", "status": "odd", "group": "7", "dropout": "nan"}
    found, _, (row,), frames = taken(tmp_path, full(**later))
    assert (row.config["lr"], row.config["optimizer"], row.config["max_epochs"]) == (0.001, "AdamW", 300)
    assert (row.config["extra.status"], row.config["extra.group"], row.config["extra.dropout"]) == ("odd", 7, None)
    assert row.provenance["imported"]["fields"]["dropout"] == "nan"
    assert frames.trials["status"].tolist() == ["finished"]
    assert len(variants(frames, found.search).rows) == 1


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("dim=512,rate=0.5,kind=a", {"params.dim": 512, "params.rate": 0.5, "params.kind": "a"}),
        ("fff_fanout=4, dim=8", {"params.fff_fanout": 4, "params.dim": 8}),
        ("no pairs here", {"params": "no pairs here"}),
        ("dim=1,dim=2", {"params": "dim=1,dim=2"}),
        ("big=99999999999999999999,x=inf", {"params.big": "99999999999999999999", "params.x": None}),
        ("", {"params": None}),
    ],
)
def test_params_vary_from_block_to_block(params, expected):
    ((one,), _) = read_blocks(full(params=params))
    assert {key: value for key, value in one.config.items() if key.startswith("params")} == expected


@pytest.mark.parametrize(
    ("broken", "line", "reason"),
    [
        ("Experiment:\n\tname: a\n\tbest_val_l\n", 3, "must be \"name: value\", but is 'best_val_l'"),
        ("Experiment:\n\tname: a\n\tname: b\n", 3, '"name" stands twice'),
        ("Experiment:\n\n", 1, "the block has no field"),
        ("Experiment:\n\tbest_val_acc: eighty\n", 2, "must be a number, but is 'eighty'"),
        ("Experiment:\n\tbest_val_acc: 8550\n", 2, "must be from 0 to 100, but is '8550'"),
        ("Experiment:\n\tend_epoch: 3.5\n", 2, "must be a whole number"),
        ("Experiment:\n\tseed: 99999999999999999999\n", 2, '"seed" must be from 0'),
        ("Experiment:\n\ttrain_seconds: -1\n", 2, '"train_seconds" must be at least 0'),
    ],
)
def test_a_malformed_block_is_named_by_its_line_and_the_rest_goes_in(tmp_path, broken, line, reason):
    before = full()
    found, own, rows, _ = taken(tmp_path, before + broken + full())
    assert found.trials == len(rows) == 2
    (named,) = found.malformed
    assert named.line == before.count("\n") + line
    assert reason in named.reason
    assert own.provenance["malformed"][0]["line"] == named.line


def test_text_before_the_first_block_is_named(tmp_path):
    found, _, _, _ = taken(tmp_path, "<<<<<<< HEAD\n" + full())
    assert (found.trials, found.malformed[0].line) == (1, 1)


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text, str.rstrip])
def test_line_ends_a_mark_of_byte_order_and_a_missing_last_newline_change_nothing(tmp_path, change):
    found, _, _, _ = taken(tmp_path, change(full() + full()))
    assert (found.trials, found.malformed) == (2, [])


def test_the_same_file_again_adds_nothing_and_a_grown_one_is_a_search_of_its_own(tmp_path):
    first, _, _, _ = taken(tmp_path, full())
    again, _, _, frames = taken(tmp_path, full())
    assert (again.search, again.was_there, len(frames.trials)) == (first.search, True, 1)
    grown, _, _, frames = taken(tmp_path, full() + full())
    assert (grown.search, grown.was_there, len(frames.trials)) == ("imported-results-2", False, 3)


def test_a_search_that_cannot_be_imported_whole_is_not_there(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        good, bad = (
            {"config": {"arch": "a"}, "provenance": {}},
            {"config": {"arch": "b"}, "provenance": {}, "wall_seconds": "x"},
        )
        with pytest.raises(Exception, match=r"wall_seconds|float"):
            store.import_search("imported-x", "?", {}, {}, "", [], [{**good, "wall_seconds": 1.0}, bad])
        assert store.searches() == []


def test_a_file_of_a_thousand_blocks_goes_in_whole(tmp_path):
    text = "".join(full(seed=str(seed), params=f"dim={seed % 50}") for seed in range(1000))
    found, _, rows, frames = taken(tmp_path, text)
    assert (found.trials, len(rows)) == (1000, 1000)
    assert variants(frames, found.search).rows["seeds"].tolist() == [20] * 50


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"arch": st.text("abc=, :_", min_size=1)},
            optional={
                **{name: st.floats(0, 100).map(str) for name in ("best_val_acc", "best_val_loss", "train_seconds")},
                **{name: st.integers(0, 10**9).map(str) for name in ("end_epoch", "num_params", "seed")},
                "lr": st.floats(allow_nan=True, allow_infinity=True).map(str),
                "params": st.text("abc=,0123.", max_size=20),
                "new": st.text("abc 0123.:\x0c\u2028", max_size=20),
            },
        ),
        max_size=5,
    )
)
def test_no_block_of_well_formed_lines_is_lost(blocks):
    found, malformed = read_blocks("".join(block(**fields) for fields in blocks))
    assert (len(found), malformed) == (len(blocks), [])
    for one, fields in zip(found, blocks, strict=True):
        assert one.imported["fields"] == {name: value.strip() for name, value in fields.items()}
        assert json.dumps([one.config, one.imported], allow_nan=False)
        assert all(not isinstance(value, float) or math.isfinite(value) for value in one.config.values())


def command(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "results.ingest", *map(str, arguments)], capture_output=True, text=True, cwd=folder,
        timeout=120, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip


def test_the_command_makes_the_default_store_and_names_what_it_left_out(tmp_path):
    (tmp_path / "old.txt").write_text(full() + "Experiment:\n\tseed: x\n")
    done = command("old.txt", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Imported 1 blocks of old.txt as finished trials of imported-old-1.")
    assert 'line 17: "seed" must be a number' in done.stderr
    assert (tmp_path / "runs" / "arbor.db").is_file()


def test_blocks_that_repeat_a_seed_are_said_and_one_without_times_is_shown(tmp_path):
    without = {"train_seconds": None, "timestamp": None}
    (tmp_path / "old.txt").write_text(full(**without) + full(best_val_acc="86.5", **without))
    assert "1 of the blocks repeat variant and seed of an earlier one" in command("old.txt", folder=tmp_path).stdout
    frames = load(f"sqlite:///{tmp_path}/runs/arbor.db")
    console = Console(record=True, width=120)
    print_table(frames, variants(frames, "imported-old-1"), console)
    printed = console.export_text()
    assert "2 trials: 2 finished" in printed
    assert "nan" not in printed
    assert variants(frames, "imported-old-1").rows["wall_seconds"].isna().all(), "unknown is not 0"


def test_accuracies_that_look_like_fractions_are_asked_about(tmp_path):
    (tmp_path / "fractions.txt").write_text(full(best_val_acc="0.8564") + full(best_val_acc="0.81"))
    (tmp_path / "percent.txt").write_text(full(best_val_acc="0.8564") + full(best_val_acc="81.2"))
    said = "No accuracy in the file is above 1"
    assert said in command("fractions.txt", folder=tmp_path).stdout
    assert said not in command("percent.txt", folder=tmp_path).stdout


def test_when_imported_trials_ran_and_when_they_were_taken_in_is_said(tmp_path):
    found, *_, frames = taken(tmp_path, full())
    console = Console(record=True, width=160)
    print_table(frames, variants(frames, found.search), console)
    assert re.search(r"its trials until 2023-12-04 01:16, taken in on \d{4}-", console.export_text())


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("absent.txt", None, [], "There is no file"),
        (".", None, [], "is a folder"),
        ("empty.txt", b"", [], "none can be read."),
        ("noise.bin", bytes(range(256)), [], "none can be read"),
        ("all_broken.txt", b"Experiment:\n\tseed: x\n", [], 'none can be read (line 2: "seed" must be a number'),
        ("good.txt", full().encode(), ["--format", "csv"], '"--format" must be one of cifar10deepspeed'),
        ("good.txt", full().encode(), ["--storage", "sqlite:///no/such/arbor.db"], "does not exist"),
    ],
)
def test_bad_input_ends_with_2_and_one_sentence_and_makes_no_store(tmp_path, name, content, options, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = command(name, *options, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert sentence in done.stderr
    assert not (tmp_path / "runs").exists()
