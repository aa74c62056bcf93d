"""Shares of the workers of a trial, and where they meet."""

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from results.errors import InputError
from trainer.ranks import ALONE, Ranks, World, open_rendezvous
from trainer.resolve import require_workers, resolve

CPU = torch.device("cpu")


@given(images=st.integers(0, 10_000), size=st.integers(1, 9))
def test_shares_are_every_image_once_in_order_and_as_even_as_can_be(images, size):
    shares = [Ranks(World(rank=rank, size=size), CPU).share(images) for rank in range(size)]
    assert [n for share in shares for n in range(share.start, share.stop)] == list(range(images))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_one_worker_alone_exchanges_nothing_and_needs_no_process_group():
    tensor = torch.tensor([1.0, 2.0])
    ALONE.mean_(tensor)
    assert tensor.tolist() == [1.0, 2.0]
    assert ALONE.gather(tensor)[0] is tensor
    assert ALONE.joined(tensor) is tensor
    assert ALONE.leaders(3) == 3


def test_workers_of_one_host_meet_on_loopback_and_nowhere_else():
    host, _, port = open_rendezvous().rpartition(":")
    assert host == "127.0.0.1"
    listening = [
        connection.laddr.ip
        for connection in psutil.Process().net_connections()
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == int(port)
    ]
    assert listening == ["127.0.0.1"]


def test_workers_that_do_not_divide_the_micro_batch_are_refused(digits):
    flat = {"data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "epochs": 1}
    config = resolve({**flat, "batch_size": 126, "accumulation": 2}, on_gpu=False)
    with pytest.raises(InputError, match=r"must divide by the trial's workers, but got \(batch_size=126"):
        require_workers(config, 2, digits)
    require_workers(config, 3, digits)
    with pytest.raises(InputError, match="must have an image to evaluate"):
        require_workers(resolve({**flat, "batch_size": 1000}, on_gpu=False), 1000, digits)
