"""Results of earlier searches that a sampler is told before it asks for anything (`search.run --warm-start`).

A result is taken where the new search might have asked for that very trial: on the same data, of every key that is sampled a
value in its range, and all other keys, the epochs among them, as the new search has them; only the seed may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from trainer.config import FlatValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One finished trial of an earlier search."""

    trial: str
    """Its id."""
    config: Mapping[str, FlatValue]
    """Its complete dictionary."""
    values: Sequence[float]
    """One for each objective of the new search."""
    drawn: Mapping[str, Any] | None = None
    """What the earlier search's space drew for it, where that is known and the new space could draw it, too."""

    def to_plain(self) -> dict[str, Any]:
        """JSON values, which the new search keeps: it does not need the earlier one when it is resumed."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        return cls(**plain)
