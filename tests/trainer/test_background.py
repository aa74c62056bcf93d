"""Checkpoints beside the training: what is written is what was handed over, and an error reaches who asked."""

import threading

import pytest
import torch

from trainer.background import Writer


def test_what_is_written_is_what_was_handed_over_though_training_goes_on():
    weights, written, let_go = torch.ones(3), [], threading.Event()

    def write(content):
        let_go.wait(10)
        written.append(content)

    writer = Writer(torch.device("cpu"))
    writer.start({"weights": weights, "history": [1]}, write)
    weights.zero_()
    assert writer.busy
    let_go.set()
    writer.wait()
    assert not writer.busy
    assert written[0]["history"] == [1]
    assert written[0]["weights"].tolist() == [1, 1, 1]


def test_what_the_disk_refuses_is_raised_at_the_next_call_and_once():
    def write(content):
        raise OSError(28, "No space left on device")

    writer = Writer(torch.device("cpu"))
    writer.start({}, write)
    with pytest.raises(OSError, match="No space left"):
        writer.wait()
    writer.wait()
