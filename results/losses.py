"""What happened to a trial on its way: workers that were lost, memory that did not suffice. Kept in its row's provenance.

The driver writes it (`search.session`) in the same commit that decides what follows, so that a limit of retries holds over
any number of drivers. A replay reads with how many micro-batches each epoch was trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from results.text import counted

LOSSES = "losses"
"""The entry of a trial's provenance; absent where nothing happened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A trial broke off and was to go on from its checkpoint, or had come to its last retry."""

    epoch: int
    """How many epochs the store had."""
    cause: str
    accumulation: int | None = None
    """Micro-batches a step from here on, where the GPU's memory did not suffice; none where the worker was lost."""

    @classmethod
    def all_of(cls, provenance: Mapping[str, Any] | None) -> list[Self]:
        """Of a trial, oldest first."""
        return [cls(**plain) for plain in (provenance or {}).get(LOSSES, ())]

    @classmethod
    def is_plain(cls, value: object) -> bool:
        """Whether this, which may come from anybody, is what `all_of` makes one of."""
        if not isinstance(value, dict) or not value.keys() <= {f.name for f in fields(cls)}:
            return False
        epoch, accumulation = value.get("epoch"), value.get("accumulation")
        counted = type(epoch) is int and epoch >= 0
        known = accumulation is None or (type(accumulation) is int and accumulation >= 1)
        return isinstance(value.get("cause"), str) and counted and known

    @property
    def in_words(self) -> str:
        return f"{self.cause} after epoch {self.epoch}"


def with_loss(provenance: Mapping[str, Any], loss: Loss) -> dict[str, Any]:
    """The entry of the provenance once this has happened, too."""
    return {LOSSES: [*provenance.get(LOSSES, ()), asdict(loss)]}


def lost_workers(provenance: Mapping[str, Any] | None) -> list[Loss]:
    """Of a trial, those that count against its retries."""
    return [loss for loss in Loss.all_of(provenance) if loss.accumulation is None]


def causes(losses: Sequence[Loss]) -> str:
    """All of them in one line, equal causes once: `A after epochs 3, 3; B after epoch 7`."""
    epochs: dict[str, list[int]] = {}
    for loss in losses:
        epochs.setdefault(loss.cause, []).append(loss.epoch)
    return "; ".join(
        f"{cause} after epoch{'s' if len(where) > 1 else ''} {', '.join(map(str, where))}"
        for cause, where in epochs.items()
    )


def accumulations(provenance: Mapping[str, Any] | None, asked: int) -> list[tuple[int, int]]:
    """With how many micro-batches a step a trial was trained, as (after this epoch, so many): first (0, asked)."""
    found = {0: asked}
    for loss in Loss.all_of(provenance):
        if loss.accumulation is not None:
            found[loss.epoch] = loss.accumulation  # of two at one epoch the later one trained
    return sorted(found.items())


def remarks_on_losses(ids: Sequence[str], provenances: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """What a table says beside its numbers about trials that broke off, a sentence each."""
    retries = Counter[str]()
    smaller = []
    for trial, provenance in zip(ids, provenances, strict=True):
        for loss in Loss.all_of(provenance):
            if loss.accumulation is None:
                retries[trial] += 1
            else:
                smaller.append(trial)
    notes = []
    if retries:
        each = _some([f"{trial} {counted(count, 'time')}" for trial, count in retries.items()])
        notes.append(
            f"The worker of {counted(len(retries), 'trial')} was lost: {each}. A trial starts again from its checkpoint; "
            "the causes are in its row (provenance, losses)."
        )
    if smaller:
        named = list(dict.fromkeys(smaller))
        notes.append(
            f"For lack of memory {counted(len(named), 'trial')} trained with more micro-batches a step than asked: "
            f"{_some(named)}. The batch is the same; rounding, dropout's draws and auxiliary losses of a micro-batch "
            "are not."
        )
    return notes


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
