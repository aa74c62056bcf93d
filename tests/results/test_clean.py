"""Disk: what is taken is told, what goes goes by rule, and nothing of a running search, of a person, or behind a link."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from results import clean, show
from results.disk import Rule, plan, remove, usage
from results.errors import InputError
from results.frames import load
from results.ids import runs_folder
from results.store import ENDED
from results.tuned import LR_TUNING
from trainer import checkpoint
from trainer.board import Board
from trainer.config import TrialConfig

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = {"selected.pt", "predictions.npz", "tensorboard"}


def run_folder(store, name):
    return Path(store.trial(name).provenance["folder"])


def with_files(store, name, **changes):
    """The trial's folder, written by the trainer's own code, as a finished or an unfinished trial leaves it."""
    row = store.trial(name)
    folder = runs_folder(store.url) / row.search_id / f"{row.number:03d}-{row.config['ffn']}"
    folder.mkdir(parents=True)
    weights = {"flat": row.config, "epoch": 1, "model": {"weight": torch.ones(1000)}}
    if row.status in ENDED:
        checkpoint.save(folder / checkpoint.SELECTED, weights)
        checkpoint.save_arrays(folder / checkpoint.PREDICTIONS, val=np.ones(50, np.uint8), test=np.ones(50, np.uint8))
    else:
        checkpoint.save(folder / checkpoint.LAST, weights)
        checkpoint.save(checkpoint.best_path(folder, 1), weights)
    board = Board(folder / "tensorboard", row.config, 1)
    for epoch in store.epochs(name):
        board.add(epoch)
    board.close()
    store.update_trial(name, provenance={"folder": str(folder)})
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """toy-1 ended with three finished trials and a stopped one; toy-2 was interrupted, toy-3 runs."""
    folder = tmp_path_factory.mktemp("recorded") / "runs"
    folder.mkdir()
    with new_store(folder) as store:
        ended = search(store)
        for hidden, accuracy in ((8, 0.5), (9, 0.7), (10, 0.6)):
            with_files(store, trial(store, ended, [0.1, accuracy], hidden=hidden))
        with_files(store, trial(store, ended, [0.2], status="stopped", hidden=11))
        store.update_search(ended, status="ended")
        for status in ("interrupted", "running"):
            name = search(store)
            with_files(store, trial(store, name, [0.4], hidden=8))
            with_files(store, trial(store, name, [0.3], status=status, hidden=9))
            store.update_search(name, status=status)
    return folder


@pytest.fixture
def store(recorded, tmp_path):
    """A copy of all that, whose rows name their own folders."""
    folder = tmp_path / "runs"
    shutil.copytree(recorded, folder)
    with new_store(folder) as opened:
        for row in opened.searches():
            for each in opened.trials(row.id):
                place = folder / Path(each.provenance["folder"]).relative_to(recorded)
                opened.update_trial(each.id, provenance={"folder": str(place)})
        yield opened


def command(store, *arguments, app=clean.app):
    done = CliRunner().invoke(app, [*arguments, "--storage", store.url])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return " ".join(done.output.split())


def files(store):
    runs = runs_folder(store.url)
    return {str(path.relative_to(runs)) for path in runs.glob("toy-*/**/*") if path.is_file()}


def left(store, name):
    folder = run_folder(store, name)
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_what_is_taken_is_told_by_search_and_sort(store):
    answer = json.loads(command(store, "--json"))
    by_name = {row["search"]: row for row in answer["searches"]}
    assert {name: (row["trials"], row["folders"]) for name, row in by_name.items()} == {
        "toy-1": (4, 4), "toy-2": (2, 2), "toy-3": (2, 2),
    }  # fmt: skip
    one = run_folder(store, "toy-1.1")
    assert by_name["toy-1"]["checkpoints"] == 4 * (one / "selected.pt").stat().st_size
    assert by_name["toy-1"]["predictions"] == 4 * (one / "predictions.npz").stat().st_size
    everything = sum((runs_folder(store.url) / name).stat().st_size for name in files(store))
    assert answer["total"] == sum(row["total"] for row in by_name.values()) == everything
    assert answer["free"] > 0
    assert all(row["other"] == 0 for row in by_name.values())
    shown = command(store)
    assert "toy-3 running 2" in shown
    assert "in all;" in shown


def test_a_thousand_finished_trials_of_the_default_model_keep_less_than_20_gb(tmp_path):
    """Weights, predictions for all images of CIFAR-10, and TensorBoard's curves of 200 epochs."""
    config = TrialConfig.from_flat({"data": "cifar10", "epochs": 200})
    with new_store(tmp_path) as store:
        name = trial(store, search(store), [0.5] * 200)
        folder = with_files(store, name)
        weights = {"flat": config.to_flat(), "epoch": 200, "model": config.model.build().state_dict()}
        checkpoint.save(folder / checkpoint.SELECTED, weights)
        classes = np.random.default_rng(0).integers(0, 10, 15_000).astype(np.uint8)
        checkpoint.save_arrays(folder / checkpoint.PREDICTIONS, val=classes[:5000], test=classes[5000:])
        used = usage(store.trial(name))
    assert used.sizes["other"] == 0
    assert 17_000_000 < used.total < 20_000_000


def test_nothing_goes_unless_somebody_says_yes(store):
    before = files(store)
    assert "there is nobody to ask. Give --yes" in command(store, "--keep-best", "1")
    assert files(store) == before


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("", False)])
def test_a_person_at_a_terminal_is_asked(store, answer, goes):
    before = files(store)
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-m", "results.clean", "--keep-best", "0", "--storage", store.url],
        stdin=theirs, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env={**os.environ},
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    out, _ = run.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert run.returncode == 0
    assert "toy-1: checkpoints and logs of 4 trials" in out
    assert "Remove them? [y/N]" in out
    assert (files(store) < before) == goes
    assert ("Nothing was removed." in out) == (not goes)


def test_all_but_the_best_go_and_keep_their_predictions_and_their_rows(store):
    said = command(store, "--keep-best", "1", "--yes")
    assert left(store, "toy-1.2") == KEPT  # 0.7
    for name in ("toy-1.1", "toy-1.3", "toy-1.4"):
        assert left(store, name) == {"predictions.npz"}
    assert len(store.trials("toy-1")) == 4
    assert [row.val_acc for row in store.epochs("toy-1.3")] == [0.1, 0.6]
    assert "Removed" in said
    assert "There is nothing to remove by this rule." in command(store, "--keep-best", "1", "--yes")


def test_a_trial_that_tuned_a_rate_is_not_kept_in_place_of_one_that_counts(store):
    store.update_trial("toy-1.2", provenance={LR_TUNING: 1e-3})  # 0.7, above 0.6 and 0.5
    command(store, "--keep-best", "1", "--yes")
    assert left(store, "toy-1.3") == KEPT
    assert left(store, "toy-1.1") == left(store, "toy-1.2") == {"predictions.npz"}


def test_what_is_told_before_is_what_goes(store):
    rule = Rule(searches=frozenset({"toy-1"}), keep_best=2, predictions=True)
    planned = plan(store, rule)
    gone = remove(store, planned, rule)
    assert [row.id for row, _ in planned.trials] == ["toy-1.1", "toy-1.4"]
    assert (gone.total, gone.folders) == (sum(used.total for _, used in planned.trials), 2)
    assert not run_folder(store, "toy-1.1").exists()
    assert left(store, "toy-1.3") == KEPT


def test_a_named_search_alone_loses_its_files(store):
    before = files(store)
    command(store, "--search", "toy-1", "--predictions", "--yes")
    assert {name.split("/")[0] for name in before - files(store)} == {"toy-1"}
    assert not any(name.startswith("toy-1/") for name in files(store))


def test_a_running_search_keeps_everything(store):
    before = {name for name in files(store) if name.startswith("toy-3/")}
    command(store, "--archive", "toy-3")
    for rule in (["--keep-best", "0"], ["--search", "toy-3"], ["--archived"]):
        assert "toy-3 is running and keeps its files" in command(store, *rule, "--predictions", "--yes")
    assert {name for name in files(store) if name.startswith("toy-3/")} == before


def test_what_can_be_resumed_stays_until_its_search_is_archived(store):
    said = command(store, "--search", "toy-2", "--yes")
    assert "1 trial not ended: what going on needs stays" in said
    assert left(store, "toy-2.1") == {"predictions.npz"}
    assert left(store, "toy-2.2") == {"last.pt", "best-0001.pt", "tensorboard"}
    command(store, "--archive", "toy-2")
    command(store, "--archived", "--yes")
    assert left(store, "toy-2.2") == set()
    assert left(store, "toy-1.1") == KEPT


def test_a_trial_that_trains_by_itself_keeps_its_files(store):
    store.update_search("toy-2", status="ended")  # as the search that `trainer.run` records under
    store.update_trial("toy-2.2", status="running")
    command(store, "--archive", "toy-2")
    command(store, "--archived", "--yes")
    assert left(store, "toy-2.2") == {"last.pt", "best-0001.pt", "tensorboard"}


def test_a_search_that_was_resumed_after_the_question_keeps_its_files(store):
    rule = Rule(searches=frozenset({"toy-1", "toy-2"}))
    planned = plan(store, rule)
    before = {name for name in files(store) if name.startswith("toy-2/")}
    store.update_search("toy-2", status="running")
    remove(store, planned, rule)
    assert {name for name in files(store) if name.startswith("toy-2/")} == before
    assert left(store, "toy-1.1") == {"predictions.npz"}


def test_links_are_not_followed_and_a_persons_files_stay(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    precious = outside / "selected.pt"
    precious.write_bytes(b"x" * 100)
    (outside / "events.out.tfevents.1").write_bytes(b"x" * 100)

    linked_file = run_folder(store, "toy-1.1")
    (linked_file / "selected.pt").unlink()
    (linked_file / "selected.pt").symlink_to(precious)
    (linked_file / "notes.txt").write_text("mine")
    (linked_file / "figures").mkdir()
    (linked_file / "figures" / "selected.pt").write_text("mine, too")

    linked_board = run_folder(store, "toy-1.2")
    for path in (linked_board / "tensorboard").iterdir():
        path.unlink()
    (linked_board / "tensorboard").rmdir()
    (linked_board / "tensorboard").symlink_to(outside)

    linked_folder = run_folder(store, "toy-1.3")
    moved = tmp_path / "moved"
    linked_folder.rename(moved)
    linked_folder.symlink_to(moved)

    command(store, "--search", "toy-1", "--predictions", "--yes")
    assert {path.name for path in outside.iterdir()} == {"selected.pt", "events.out.tfevents.1"}
    assert left(store, "toy-1.1") == {"selected.pt", "notes.txt", "figures"}
    assert (linked_file / "figures" / "selected.pt").read_text() == "mine, too"
    assert left(store, "toy-1.2") == {"tensorboard"}
    assert {path.name for path in moved.iterdir()} == KEPT
    assert not run_folder(store, "toy-1.4").exists()


@pytest.mark.parametrize("place", ["{tmp}/home", "{tmp}/toy-1/other", "toy-1/001-mlp", "/", ""])
def test_a_folder_that_is_not_a_trials_is_never_touched(store, tmp_path, place):
    """The store's text may be anybody's: a row that names another folder is not believed."""
    named = place.format(tmp=tmp_path)
    if place.startswith("{tmp}"):
        Path(named).mkdir(parents=True)
        (Path(named) / "selected.pt").write_text("another's")
    store.update_trial("toy-1.1", provenance={"folder": named})
    command(store, "--search", "toy-1", "--predictions", "--yes")
    if place.startswith("{tmp}"):
        assert (Path(named) / "selected.pt").read_text() == "another's"


def test_files_of_a_killed_writer_go_with_the_others(store):
    folder = run_folder(store, "toy-1.1")
    for name in (".selected.pt.4711", ".predictions.npz.4711", "last.pt", "best-0012.pt"):
        (folder / name).write_bytes(b"x")
    command(store, "--search", "toy-1", "--predictions", "--yes")
    assert not folder.exists()


def test_archived_searches_are_hidden_and_not_lost(store):
    assert "toy-3 is archived; --restore toy-3 brings it back." in command(store, "--archive", "toy-3")
    assert "toy-3 was archived already; --restore toy-3 brings it back." in command(store, "--archive", "toy-3")
    listed = command(store, "--list", app=show.app)
    assert "toy-2" in listed
    assert "toy-3" not in listed
    assert "1 archived search is hidden; --all shows them." in listed
    assert "toy-3" in command(store, "--list", "--all", app=show.app)
    assert "toy-3" in command(store, "--list", "--tag", "archived", app=show.app)
    assert json.loads(command(store, "--json", app=show.app))["search"] == "toy-2"  # the latest in sight
    assert json.loads(command(store, "toy-3", "--json", app=show.app))["search"] == "toy-3"
    assert load(store.url).latest() == "toy-2"
    assert len(load(store.url).trials_of("toy-3")) == 2
    assert "archived" in command(store)
    assert "toy-3 is back." in command(store, "--restore", "toy-3")
    assert "hidden" not in command(store, "--list", app=show.app)


def test_where_all_searches_are_archived_the_way_out_is_said(store):
    command(store, "--archive", "toy-1", "--archive", "toy-2", "--archive", "toy-3")
    with pytest.raises(InputError, match="Every search is archived; name one, such as toy-3"):
        command(store, app=show.app)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep-best", "-1"], '"--keep-best" must be at least 0, but got -1'),
        (["--search", "toy-9"], "Unknown search 'toy-9'; did you mean 'toy-"),
        (["--archive", "toy-1", "--archive", "tyo-1"], "Unknown search 'tyo-1'; did you mean 'toy-1'"),
        (["--predictions"], "must have a rule beside it"),
        (["--json", "--archived"], '"--json" must stand without'),
    ],
)
def test_bad_input_is_refused_before_anything_changes(store, arguments, sentence):
    before = files(store)
    with pytest.raises(InputError, match=sentence):
        command(store, *arguments, "--yes")
    assert files(store) == before
    assert not any(row.tags for row in store.searches())


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (17_490_000, "17.5 MB"), (999_600, "1 MB"), (20 * 10**9, "20 GB")],
)
def test_sizes_are_told_in_decimal_units(size, text):
    assert clean.in_bytes(size) == text
