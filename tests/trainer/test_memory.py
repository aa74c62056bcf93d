"""Which errors say that the device's memory is full, and how a batch is cut finer then."""

import torch

from results.losses import Loss, with_loss
from results.store import Store
from trainer.fingerprint import trial_fingerprint
from trainer.memory import FINEST, finer, is_out_of_memory
from trainer.replayed import replay
from trainer.resolve import resolve
from trainer.trial import Trial


def test_only_errors_of_the_devices_memory_are_taken_for_one():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), MemoryError(), ValueError("out of memory"),
                  RuntimeError("DefaultCPUAllocator: can't allocate memory")):  # fmt: skip
        assert not is_out_of_memory(error)


def test_a_batch_is_cut_into_at_least_twice_as_many_equal_parts_up_to_a_limit():
    assert [finer(512, 1, parts) for parts in (1, 2, 4, 8, 16)] == [2, 4, 8, 16, None]
    assert [finer(512, 4, parts) for parts in (4, 8, 16, 32, 64)] == [8, 16, 32, 64, None]
    assert finer(500, 1, 4) == 10, "8 would leave a rest"
    assert finer(7, 1, 1) == 7
    assert finer(126 // 2, 1, 1) == 3, "of two workers: in 2 parts of 126 each would have 31.5 images"
    assert finer(8, 1, 8) is None, "one image at once is the least"
    assert finer(509, 1, 1) is None, "a prime would need a step of 509 parts"
    assert FINEST == 16


def test_a_replay_trains_each_epoch_with_the_micro_batches_that_it_was_trained_with(tmp_path, digits, capsys):
    """The trial ran out of memory after its first epoch and went on from its checkpoint in four parts."""
    flat = {
        "data": "digits",
        "patch": 16,
        "dim": 16,
        "depth": 1,
        "heads": 1,
        "batch_size": 128,
        "epochs": 3,
        "lr": 5e-3,
    }
    config = resolve({**flat, "ffn": "mlp", "ffn.mlp.hidden": 8}, on_gpu=False)
    url = f"sqlite:///{tmp_path}/arbor.db"
    with Store.open(url) as store:
        search = store.create_search("single", "?", {"variants": []}, {})
        name = store.add_trial(
            search, 1, config.to_flat(), parameters=1, neurons_used=1, macs=1, macs_conditional=1, provenance={}
        )
        for accumulation, last in ((1, 1), (4, 3)):
            trial = Trial(
                config,
                tmp_path / "trial",
                device=torch.device("cpu"),
                threads=1,
                reported=store.last_epoch(name),
                accumulation=accumulation,
            )
            for report in trial.reports():
                store.commit_report(name, report.row, None, **report.columns(0.0), provenance=trial_fingerprint(trial))
                if report.row.epoch == last:
                    break
            trial.close()
        loss = Loss(epoch=1, cause="memory was full", accumulation=4)
        store.update_trial(name, provenance=with_loss({}, loss))
    assert replay(name, epochs=None, data=None, storage=url) == 0
    printed = capsys.readouterr().out
    assert "up to epoch 1 with 1 micro-batches a step, as recorded" in printed
    assert "up to epoch 3 with 4 micro-batches a step, as recorded" in printed
    assert "Verdict: identical" in printed
    with Store.open(url) as store:  # as asked all along, the curve is another one in its last bits
        store.update_trial(name, provenance={"losses": []})
    replay(name, epochs=None, data=None, storage=url)
    assert "Verdict: identical" not in capsys.readouterr().out
