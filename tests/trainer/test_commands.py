"""`trainer.run`, `evaluate` and `replay` as a person starts them: real processes, killed and interrupted ones too."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from results.store import Store

KEYS = ("data=digits", "patch=16", "dim=16", "depth=1", "heads=1", "batch_size=128", "ffn=fff", "ffn.fff.depth=2")
MEASURED = ("epoch", "train_loss", "val_loss", "val_acc", "lr")


class Place:
    """A folder with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    def start(self, module, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self, module, *arguments, code=0):
        process = self.start(module, *arguments)
        printed, _ = process.communicate(timeout=200)
        assert process.returncode == code, printed
        return printed

    def said(self, *arguments):
        """The sentence that refuses a training, in one line."""
        printed = self.train(*arguments, code=2)
        assert "Traceback" not in printed
        return " ".join(printed.split())

    def train(self, *arguments, code=0):
        return self.run("trainer.run", *KEYS, *arguments, "--threads", "1", code=code)

    def start_training(self, *arguments, until):
        """A trial that has just printed `until`."""
        process = self.start("trainer.run", *KEYS, *arguments, "--threads", "1")
        printed = ""
        for line in process.stdout:
            printed += line
            if until in line:
                return process
        pytest.fail(printed)

    def row(self, trial_id="single-1.1"):
        with self._store() as store:
            return store.trial(trial_id)

    def update(self, **columns):
        with self._store() as store:
            store.update_trial("single-1.1", **columns)

    def curve(self, trial_id="single-1.1"):
        with self._store() as store:
            return [tuple(getattr(row, name) for name in MEASURED) for row in store.epochs(trial_id)]

    def _store(self):
        return Store.open(f"sqlite:///{self.folder}/runs/arbor.db", create=False)


@pytest.fixture
def place(tmp_path, digits):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """A place with one finished trial, and what its training printed."""
    place = Place(tmp_path_factory.mktemp("trained"))
    place.printed = place.train("epochs=3")
    return place


def test_a_trial_is_trained_evaluated_and_replayed_by_three_commands(trained):
    place, printed, row = trained, trained.printed, trained.row()
    assert "Trial single-1.1:" in printed
    assert "epoch   3/3" in printed
    assert f"finished, validation accuracy {100 * row.val_acc:.2f} % after 3 epochs" in printed
    folder = Path(row.provenance["folder"])
    assert {path.name for path in folder.iterdir()} == {"selected.pt", "predictions.npz", "tensorboard"}

    answer = json.loads(place.run("trainer.evaluate", "single-1.1", "--json").splitlines()[-1])
    assert (answer["loss"], answer["accuracy"], answer["epoch"]) == (row.val_loss, row.val_acc, 3)

    printed = place.run("trainer.replay", "single-1.1")
    assert "Verdict: identical" in printed
    assert f"{row.val_loss:.8f} / {row.val_loss:.8f} =" in printed
    assert place.row() == row  # neither wrote anything


def test_a_store_that_was_moved_with_its_folders_is_evaluated_where_it_is(trained, tmp_path):
    before, hidden = trained.row(), trained.folder.with_name("hidden")
    elsewhere = Place(tmp_path / "elsewhere")
    shutil.copytree(trained.folder, elsewhere.folder, dirs_exist_ok=True)
    trained.folder.rename(hidden)
    try:
        folder = Path(elsewhere.row().provenance["folder"])
        assert folder.is_relative_to(elsewhere.folder)
        assert folder.name == Path(before.provenance["folder"]).name
        answer = json.loads(elsewhere.run("trainer.evaluate", "single-1.1", "--json").splitlines()[-1])
        assert answer["accuracy"] == before.val_acc
    finally:
        hidden.rename(trained.folder)
    assert trained.row() == before  # as long as a recorded folder is there, it is the trial's
    assert elsewhere.row().provenance["folder"] == before.provenance["folder"]


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_by_its_path_on_any_part_of_the_data(trained):
    row = trained.row()
    checkpoint = str(Path(row.provenance["folder"]) / "selected.pt")
    printed = trained.run("trainer.evaluate", checkpoint)
    assert f"Validation loss = {row.val_loss:.6f}" in printed
    printed = trained.run("trainer.evaluate", "single-1.1", "--split", "test")
    assert f"Test loss = {row.test_loss:.6f}" in printed
    assert f"Stored for this checkpoint: loss {row.test_loss:.6f}, accuracy {100 * row.test_acc:.2f} %" in printed


@pytest.mark.slow
def test_a_killed_trial_goes_on_with_the_same_command_and_its_curve_is_that_of_an_unbroken_one(tmp_path, digits):
    broken, whole = Place(tmp_path / "broken"), Place(tmp_path / "whole")
    whole.train("epochs=24")
    for epoch in (5, 14):
        process = broken.start_training("epochs=24", until=f"epoch {epoch:3d}/24")
        process.kill()
        process.communicate()
        done = broken.row().epochs
        assert epoch <= done < 24
        assert [epoch for epoch, *_ in broken.curve()] == list(range(1, done + 1))
    printed = broken.train("epochs=24")
    assert f"Going on with single-1.1 after epoch {done}." in printed
    assert broken.curve() == whole.curve()
    rows = broken.row(), whole.row()
    assert rows[0].test_loss == rows[1].test_loss
    kept = [{path.name for path in Path(row.provenance["folder"]).iterdir()} for row in rows]
    assert kept[0] == kept[1]
    assert "has ended already" in broken.train("epochs=24")
    assert broken.row() == rows[0]


@pytest.mark.slow
def test_an_evaluation_by_another_form_says_how_many_images_and_paths_differ(place):
    place.run(
        "trainer.run", *(key for key in KEYS if "ffn" not in key), "ffn=fff_soft", "ffn.fff_soft.depth=2",
        "ffn.fff_soft.leaf_width=4", "epochs=2", "--threads", "1",
    )  # fmt: skip
    row = place.row()
    answers = {
        form: json.loads(place.run("trainer.evaluate", "single-1.1", "--execution", form, "--json").splitlines()[-1])
        for form in ("dense", "conditional", "soft")
    }
    assert {form: answer["execution"] for form, answer in answers.items()} == {form: form for form in answers}
    assert answers["dense"]["loss"] == row.val_loss
    assert answers["conditional"]["loss"] == pytest.approx(row.val_loss, rel=1e-5)
    assert answers["dense"]["predicted_differently"] == answers["conditional"]["predicted_differently"] == 0
    assert answers["soft"]["predicted_differently"] > 0
    # the one block of this model is its last, whose feed-forward has one token an image
    assert answers["conditional"]["turned_paths"]["paths"] == 179
    assert answers["conditional"]["turned_paths"]["whole_model"] < 0.01  # in fp32
    printed = place.run("trainer.evaluate", "single-1.1", "--execution", "soft")
    differing = answers["soft"]["predicted_differently"]
    assert f"Predicted differently by dense and by soft: {differing} of {answers['soft']['images']} images" in printed
    assert "Paths that fp32 turns against float64, in the first" in printed
    assert "Stored for this checkpoint (by dense)" in printed
    printed = place.run("trainer.evaluate", "single-1.1", "--execution", "sparse", code=2)
    assert "--execution must be one of dense, conditional, soft, but got 'sparse'" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_reset_trains_the_same_trial_anew_and_keeps_the_former_row(trained):
    former = trained.row()
    printed = trained.train("epochs=3", "--reset")
    assert "Trial single-1.2:" in printed
    assert trained.row() == former
    assert trained.row("single-1.2").status == "finished"
    assert trained.curve("single-1.2") == trained.curve()


@pytest.mark.slow
def test_a_running_trial_can_be_evaluated_and_ctrl_c_leaves_one_that_goes_on(place):
    process = place.start_training("epochs=2000", until="epoch   5/2000")
    answer = json.loads(place.run("trainer.evaluate", "single-1.1", "--json").splitlines()[-1])
    losses = {epoch: loss for epoch, _, loss, *_ in place.curve()}
    assert answer["epoch"] >= 5
    assert answer["loss"] == losses[answer["epoch"]]
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    row = place.row()
    assert row.status == "interrupted"
    assert f"Interrupted after epoch {row.epochs}; the same command goes on." in printed
    assert "Traceback" not in printed
    process = place.start_training("epochs=2000", until=f"epoch {row.epochs + 3:3d}/2000")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    epochs = [epoch for epoch, *_ in place.curve()]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= row.epochs + 3
    for key, what in (("source_hash", "The code in arch_space/ or trainer/"), ("data_checksum", "The data")):
        was = place.row().provenance[key]
        place.update(provenance={key: "0" * 64})
        printed = place.train("epochs=2000", code=2)
        assert f"Error: {what} changed since single-1.1 began (0000000000000000 -> " in " ".join(printed.split())
        place.update(provenance={key: was})
    assert place.curve()[-1][0] == len(epochs)


@pytest.mark.slow
def test_a_second_process_on_the_same_trial_is_refused_while_the_first_lives(place):
    process = place.start_training("epochs=2000", until="epoch   2/2000")
    sentence = (
        f"Error: single-1.1 is being trained by process {process.pid} on this host; stop that one first, or wait until it "
        "has ended."
    )
    for reset in ((), ("--reset",)):
        assert place.said("epochs=2000", *reset) == sentence
    assert place.row().status == "running"
    assert place.row().cause is None
    process.kill()
    process.wait()
    anew = place.start_training("epochs=2000", "--reset", until="epoch   2/2000")
    assert (place.row().status, place.row().cause) == ("stopped", "reset by the user")
    assert place.row("single-1.2").provenance["driver_pid"] == anew.pid
    anew.kill()
    anew.wait()
    goes_on = place.start_training("epochs=2000", until="Going on with single-1.2")
    os.killpg(goes_on.pid, signal.SIGTERM)
    goes_on.communicate(timeout=60)


@pytest.mark.slow
def test_of_two_processes_that_start_together_one_trains(place):
    processes = [place.start("trainer.run", *KEYS, "epochs=40", "--threads", "1") for _ in range(2)]
    ended = [(process.communicate(timeout=200)[0], process.returncode) for process in processes]
    assert sorted(code for _, code in ended) == [0, 2], ended
    (refused,) = (printed for printed, code in ended if code)
    assert "Error: single-1.1 is being trained by process" in refused
    assert [epoch for epoch, *_ in place.curve()] == list(range(1, 41))


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False])
def test_sigterm_leaves_a_trial_that_goes_on(place, whole_group):
    """As a batch system sends it when the time is up."""
    process = place.start_training("epochs=2000", until="epoch   3/2000")
    if whole_group:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    row = place.row()
    assert row.status == "interrupted"
    assert f"Interrupted after epoch {row.epochs}; the same command goes on." in printed
    process = place.start_training("epochs=2000", until=f"epoch {row.epochs + 1:3d}/2000")
    process.terminate()
    assert process.wait(60) == 130
    epochs = [epoch for epoch, *_ in place.curve()]
    assert epochs == list(range(1, len(epochs) + 1))
