"""Which worker may write into a trial's folder: a real trial that another attempt takes over changes nothing any more."""

import pytest
import torch

from trainer import checkpoint
from trainer.lease import FILE, EndedError, Lease, SupersededError
from trainer.resolve import resolve
from trainer.trial import Trial

FLAT = {"data": "digits", "epochs": 4, "batch_size": 256, "patch": 16, "dim": 16, "depth": 1, "heads": 1}


def started(folder, attempt, reported=0):
    """The trial of one attempt; its reports come as they are asked for."""
    lease = Lease(folder, attempt)
    config = resolve({**FLAT, "select": "best"}, on_gpu=False)
    return Trial(config, folder, device=torch.device("cpu"), threads=1, reported=reported, guard=lease.check)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_an_orphan_changes_nothing_once_its_trial_goes_on_elsewhere_and_the_curve_is_whole(digits, tmp_path):
    orphan = started(tmp_path, 1)
    reports = orphan.reports()
    first = next(reports)
    second = started(tmp_path, 2, reported=1)
    taken_over = files(tmp_path)
    for _ in range(2):  # however often it tries
        with pytest.raises(SupersededError, match="Attempt 2 holds"):
            next(reports)
        reports = orphan.reports()
        next(reports)  # what it had reported before
    assert files(tmp_path) == taken_over
    orphan.close()
    epochs = [first.row.epoch, *(report.row.epoch for report in second.reports())]
    second.close()
    assert epochs == [1, 2, 3, 4]
    assert checkpoint.load(tmp_path / checkpoint.SELECTED)["flat"]["epochs"] == 4


def test_an_orphan_does_not_write_into_the_folder_of_a_trial_that_has_ended(digits, tmp_path):
    orphan = started(tmp_path, 1)
    reports = orphan.reports()
    next(reports)
    checkpoint.remove_resume_files(tmp_path)  # as the driver does at the end
    with pytest.raises(SupersededError, match="has ended"):
        next(reports)
    orphan.close()
    assert files(tmp_path) == {}


def test_what_is_written_between_the_end_of_a_trial_and_the_next_look_is_removed_by_who_wrote_it(digits, tmp_path):
    lease, looks = Lease(tmp_path, 1), []

    def looked():
        lease.check()
        looks.append(sorted(files(tmp_path)))
        if len(looks) == 5:  # the one before the second checkpoint
            checkpoint.remove_resume_files(tmp_path)  # as the driver does at the end; the checkpoint comes after it

    config = resolve(FLAT, on_gpu=False)
    trial = Trial(config, tmp_path, device=torch.device("cpu"), threads=1, guard=looked)
    reports = trial.reports()
    next(reports)
    with pytest.raises(EndedError, match="has ended"):
        next(reports)
    trial.close()
    assert checkpoint.LAST in looks[3]
    assert files(tmp_path) == {}


def test_a_worker_that_starts_late_is_refused_and_one_that_took_the_lease_late_loses_it(tmp_path):
    lease = Lease(tmp_path, 7)
    with pytest.raises(SupersededError, match="Attempt 7 holds"):
        Lease(tmp_path, 6)
    (tmp_path / FILE).write_text("6")  # as one that was stopped between its look and its taking
    lease.check()
    assert (tmp_path / FILE).read_text() == "7"
    lease.check()
