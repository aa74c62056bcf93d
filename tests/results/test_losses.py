"""What a row says of workers that were lost and of memory that did not suffice."""

import sys
from pathlib import Path

import pytest

from results.frames import load
from results.losses import Loss, accumulations, causes, lost_workers, remarks_on_losses, with_loss
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

DIED = Loss(epoch=3, cause="the worker died")
SILENT = Loss(epoch=5, cause="the worker was silent")
FULL = Loss(epoch=4, cause="memory was full", accumulation=2)
FULLER = Loss(epoch=4, cause="memory was full", accumulation=4)


def provenance_of(*losses):
    provenance = {"folder": "x"}
    for loss in losses:
        provenance |= with_loss(provenance, loss)
    return provenance


def test_losses_come_back_in_order_and_only_lost_workers_count_as_retries():
    provenance = provenance_of(DIED, FULL, SILENT)
    assert Loss.all_of(provenance) == [DIED, FULL, SILENT]
    assert lost_workers(provenance) == [DIED, SILENT]
    assert Loss.all_of(None) == Loss.all_of({}) == []


def test_all_causes_stand_in_one_line_equal_ones_once():
    assert causes([DIED]) == "the worker died after epoch 3"
    assert causes([DIED, SILENT, DIED]) == "the worker died after epochs 3, 3; the worker was silent after epoch 5"


def test_each_epoch_was_trained_with_the_micro_batches_that_were_set_last_before_it():
    assert accumulations(provenance_of(DIED), 2) == [(0, 2)]
    assert accumulations(provenance_of(FULL, FULLER, SILENT), 1) == [(0, 1), (4, 4)]
    first = Loss(epoch=0, cause="memory was full", accumulation=8)
    assert accumulations(provenance_of(first), 4) == [(0, 8)]


@pytest.mark.parametrize("everything", [True, False])
def test_a_table_says_which_trials_were_retried_and_which_were_cut(tmp_path, everything):
    with new_store(tmp_path) as store:
        name = search(store, grid=True)
        for losses in ((DIED, SILENT), (FULL, FULLER), ()):
            store.update_trial(
                trial(store, name, [0.5, 0.6], hidden=8 + len(losses)), provenance=provenance_of(*losses)
            )
        url = store.url
    remarks = variants(load(url), [name], everything=everything).notes
    assert any("The worker of 1 trial was lost: toy-1.1 2 times." in remark for remark in remarks)
    assert any("1 trial trained with more micro-batches a step than asked: toy-1.2." in remark for remark in remarks)


def test_a_table_names_a_few_and_counts_the_rest():
    (remark,) = remarks_on_losses([f"toy-1.{number}" for number in range(9)], [provenance_of(DIED)] * 9)
    assert "The worker of 9 trials was lost: toy-1.0 1 time," in remark
    assert "toy-1.4 1 time and 4 more." in remark
    assert remarks_on_losses(["toy-1.1"], [{}]) == []
