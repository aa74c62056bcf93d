"""A trial of several workers: one process for each, all in the trial's own placement group, all gone when one is.

Tune's Trainable holds a `Gang` and computes nothing itself. The group has one bundle for each of the trial's nodes, so the
workers are spread evenly over as many nodes as were asked for. They stay from trial to trial with the Trainable that Tune
reuses, and have met once for all of them.

A rank whose sister is gone may wait for it in an exchange for ever, or say only that a connection broke. So whatever one
rank reports that is no epoch ends the whole gang, within seconds and by force; the next step of a trial starts a new one.
"""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from search.worker import TrialWorker

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

    from search.resources import Resources
    from search.shipping import Shipped

GRACE_SECONDS = 5.0
"""After one rank has failed, how long the others may take to say why: of a death Ray knows only some moments later."""


END_SECONDS = 30.0
"""How long the ranks may take to leave a trial, the last checkpoint's way to a slow disk included."""


class WorkerLostError(RuntimeError):
    """The process of a rank is gone, and the gang with it; the trial may go on from its checkpoint in a new one."""


def shape(resources: Resources) -> PlacementGroupFactory:
    """What Tune reserves for each trial: nothing for the Trainable, and a bundle for each node of its workers."""
    from ray import tune

    nodes = resources.nodes_per_trial
    bundle = {"CPU": _part(resources.cpus_per_trial, nodes)}
    if resources.gpus_per_trial:
        bundle["GPU"] = _part(resources.gpus_per_trial, nodes)
    return tune.PlacementGroupFactory([{}, *[dict(bundle) for _ in range(nodes)]],
                                      strategy="STRICT_SPREAD" if nodes > 1 else "PACK")  # fmt: skip


class RankWorker:
    """One rank in its own process; Ray makes an actor of it."""

    def __init__(self) -> None:
        self._host = ray.util.get_node_ip_address()
        self._worker = TrialWorker()

    def address(self, nodes: int) -> str:
        """For rank 0: where the ranks meet, `host:port`; loopback on one node."""
        from trainer.ranks import LOOPBACK, open_rendezvous

        host = LOOPBACK if nodes == 1 else self._host
        return open_rendezvous(host)

    def join(self, rank: int, size: int, address: str, nodes: int, shipped: Shipped | None) -> None:
        """Take a place among the ranks."""
        from trainer.ranks import LOOPBACK, World

        own_host = LOOPBACK if nodes == 1 else self._host
        self._worker = TrialWorker(World(rank=rank, size=size, address=address, own_host=own_host), shipped)

    def step(self, flat: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        """As `TrialWorker.step`."""
        return self._worker.step(flat, work)

    def end(self) -> None:
        """As `TrialWorker.end`."""
        self._worker.end()


class Gang:
    """The workers of one trial after another.

    Args:
        group: the placement group to be in, with a bundle for each node.
        work: `workers`, `nodes`, `cpus` and `gpus` of the whole trial.
        shipped: what a node of a joined cluster may lack.
    """

    def __init__(self, group: PlacementGroup, work: dict[str, Any], shipped: Shipped | None = None) -> None:
        self._size, nodes = work["workers"], work["nodes"]
        self._trains = False
        each = {"num_cpus": _part(work["cpus"], self._size), "num_gpus": _part(work["gpus"], self._size)}
        actor = ray.remote(RankWorker)
        self._ranks: list[Any] = [
            actor.options(
                **each,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank // (self._size // nodes)),
            ).remote()
            for rank in range(self._size)
        ]
        try:
            address = self._all([self._ranks[0].address.remote(nodes)])[0]
            self._all(
                [actor.join.remote(rank, self._size, address, nodes, shipped) for rank, actor in enumerate(self._ranks)]
            )
        except BaseException:
            self.kill()
            raise

    @property
    def alive(self) -> bool:
        """Whether it has not been killed."""
        return bool(self._ranks)

    def step(self, flat: dict[str, Any], work: dict[str, Any]) -> dict[str, Any]:
        """One epoch on all ranks; what rank 0 says, or the rank that failed first.

        Raises:
            WorkerLostError: the process of a rank is gone.
        """
        self._trains = True
        try:
            results = self._all([actor.step.remote(flat, work) for actor in self._ranks])
        except BaseException:
            self.kill()
            raise
        failed = [result for result in results if _failed(result)]
        if failed:
            self.kill()
            return failed[0]
        return results[0]

    def end(self) -> None:
        """Leave the trial; the processes stay for the next one, unless one of them is gone or does not answer."""
        if not self._trains or not self.alive:
            return
        self._trains = False
        try:
            self._all([actor.end.remote() for actor in self._ranks], END_SECONDS)
        except (WorkerLostError, ray.exceptions.RayError, TimeoutError):
            self.kill()

    def kill(self) -> None:
        """End all processes at once, also those that hang in an exchange."""
        for actor in self._ranks:
            with contextlib.suppress(ray.exceptions.RayError, ValueError):
                ray.kill(actor, no_restart=True)
        self._ranks = []

    def _all(self, calls: list[Any], limit_seconds: float = math.inf) -> list[Any]:
        """What all ranks return, in their order; where one failed, what came within `GRACE_SECONDS` of that, as it came.

        Raises:
            WorkerLostError: a rank is gone.
            TimeoutError: they took longer.
        """
        found: dict[Any, Any] = {}  # in the order of time
        until = time.monotonic() + limit_seconds
        failed = False
        while len(found) < len(calls):
            left = until - time.monotonic()
            waiting = [call for call in calls if call not in found]
            done, _ = ray.wait(waiting, num_returns=1, timeout=None if math.isinf(left) else max(0.0, left))
            if not done:
                if failed:
                    return list(found.values())
                raise TimeoutError
            try:
                found[done[0]] = ray.get(done[0])
            except ray.exceptions.RayActorError as error:
                raise WorkerLostError(_who(calls.index(done[0]), self._size)) from error
            if not failed and _failed(found[done[0]]):
                failed, until = True, time.monotonic() + GRACE_SECONDS
        return list(found.values()) if failed else [found[call] for call in calls]


def _part(whole: float, parts: int) -> float:
    """Rounded down as Ray counts, in 1/10000: parts that are more than their bundle together would wait for ever."""
    return math.floor(whole / parts * 10_000 + 1e-6) / 10_000


def _failed(result: object) -> bool:
    return isinstance(result, dict) and "report" not in result


def _who(rank: int, size: int) -> str:
    return f"the process of rank {rank} died, of the trial's {size} workers"
