"""Finding a trial's checkpoint, and saying why there is none."""

import pytest

from results.errors import InputError
from results.rows import EpochRow
from results.store import Store
from trainer.located import locate


@pytest.mark.parametrize(
    ("status", "epochs", "sentence"),
    [
        (
            "finished",
            1,
            r"^The checkpoint of trial toy-1\.1 \(finished\) was removed: there is none in .*replay toy-1\.1$",
        ),
        ("plateau", 1, "was removed"),
        ("stopped", 1, r"^Trial toy-1\.1 is stopped, and such a trial keeps no checkpoint\. .*replay toy-1\.1$"),
        ("diverged", 0, "is diverged, and such a trial keeps no checkpoint; name another trial.$"),
        ("running", 0, "is running and has no checkpoint in .* name another trial.$"),
    ],
)
def test_why_a_trial_has_no_checkpoint_and_what_can_be_done(tmp_path, status, epochs, sentence):
    url = f"sqlite:///{tmp_path}/arbor.db"
    with Store.open(url) as store:
        search = store.create_search("toy", "?", {}, {})
        trial = store.add_trial(
            search, 1, {"seed": 0}, parameters=1, neurons_used=1, macs=1, macs_conditional=1,
            provenance={"folder": str(tmp_path / "001")},
        )  # fmt: skip
        for number in range(1, epochs + 1):
            row = EpochRow(
                epoch=number, train_loss=1.0, val_loss=1.0, val_acc=0.5, lr=1e-3, train_seconds=1.0, val_seconds=1.0,
                images_per_second=1.0,
            )  # fmt: skip
            store.commit_report(trial, row, None)
        store.update_trial(trial, status=status)
    with pytest.raises(InputError, match=sentence) as refused:
        locate(trial, url)
    assert ("trainer.replay" in str(refused.value)) == bool(epochs)
