"""The workers that train one trial together: who is which, how they meet, and what they tell each other.

A world of one, the default, needs no port and every exchange in it is the identity. In a larger one each process has its
own share of every micro-batch, and rank 0 leads: it alone writes files and its reports count.

They meet at a `TCPStore` of rank 0 on a free port. Neither that store nor gloo nor NCCL asks who is there: a process that
reaches their ports while a trial runs can read and change what the workers exchange. So workers of one host use loopback
alone, where only the host's own users reach them; workers of several hosts use the addresses of their nodes, and then the
network between these must be closed to others. No message between ranks is unpickled.
"""

from __future__ import annotations

import atexit
import os
import socket
from dataclasses import dataclass
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store, TCPStore  # as torch.distributed has them, with types

LOOPBACK = "127.0.0.1"
PATIENCE = timedelta(hours=1)
"""How long a rank waits in an exchange: rank 0 may write to a slow disk meanwhile. Whoever holds the ranks ends them sooner
where one is gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The place of this process among the workers of a trial."""

    rank: int = 0
    size: int = 1
    address: str = ""
    """host:port of rank 0's store; empty in a world of one."""
    own_host: str = LOOPBACK
    """An address of this process's own node: on its network interface the ranks exchange data."""


SINGLE = World()
"""Of a process that trains by itself."""

_opened: dict[str, TCPStore] = {}


def open_rendezvous(host: str = LOOPBACK) -> str:
    """In the process of rank 0: the store that the ranks meet at, on a free port of that address alone; `host:port`."""
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    port: int = listener.getsockname()[1]
    address = f"{host}:{port}"
    # handed over, since a store that listens by itself does so on all interfaces
    _opened[address] = TCPStore(
        host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach(), timeout=PATIENCE
    )
    return address


def join(world: World, backend: str) -> None:
    """Start torch's process group of this world, which is left when the process ends.

    A HashStore lives inside the process: alone, nothing can collide.
    """
    store: Store
    if world.size == 1:
        store = dist.HashStore()  # type: ignore[attr-defined]  # public, though not listed
    elif world.address in _opened:
        store = _opened[world.address]
    else:
        host, _, port = world.address.rpartition(":")
        store = TCPStore(host, int(port), is_master=False, timeout=PATIENCE)
    name_interface(world)
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size, timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)


def name_interface(world: World) -> None:
    """Tell gloo and NCCL on which network interface the ranks exchange data, unless a person has."""
    interface = _interface_of(world.own_host)
    # gloo listens even in a world of one; else where the host's name leads to
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if world.size > 1:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def _interface_of(host: str) -> str:
    """The network interface that has this address; raises ValueError where none has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address.partition("%")[0] == host for address in addresses):
            return name
    raise ValueError(f"A worker must have an address of its own node, but no interface here has {host}.")


class Ranks:
    """What the workers of one trial exchange; every rank calls the same methods in the same order.

    All of them get the same answer to the bit, so that what follows from it is the same everywhere.
    """

    def __init__(self, world: World, device: torch.device) -> None:
        self.rank, self.size, self._device = world.rank, world.size, device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes and reports."""
        return self.rank == 0

    def share(self, images: int) -> slice:
        """This rank's part of so many images, one after another; the parts differ by one image at most."""
        return slice(images * self.rank // self.size, images * (self.rank + 1) // self.size)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every rank, all of one shape and type, in the order of the ranks."""
        if self.size == 1:
            return [tensor]
        own = tensor.to(self._device).contiguous()
        found = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(found, own)
        return found

    def joined(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, one after another; each may have another number of them."""
        if self.size == 1:
            return rows
        counts = [int(count) for count in self.gather(torch.tensor(len(rows)))]
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        return torch.cat([part[:count] for part, count in zip(self.gather(padded), counts, strict=True)])

    def sum_(self, *tensors: Tensor) -> None:
        """Each tensor, in place, becomes the sum over the ranks."""
        for tensor in tensors if self.size > 1 else ():
            tensor.copy_(torch.stack(self.gather(tensor)).sum(dim=0))

    def mean_(self, *tensors: Tensor) -> None:
        """Each tensor, in place, becomes the mean over the ranks."""
        self.sum_(*tensors)
        for tensor in tensors if self.size > 1 else ():
            tensor /= self.size

    def leaders(self, number: int) -> int:
        """What rank 0 says, for what may differ between the ranks, such as how far a disk has come."""
        return int(self.gather(torch.tensor(number))[0])


ALONE = Ranks(SINGLE, torch.device("cpu"))
"""The ranks of a process that trains or evaluates by itself."""
