"""What a trial says after an epoch, and which columns of its row follow from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from results.rows import EpochRow

Status = Literal["running", "finished", "plateau", "diverged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a trial says after an epoch. Accuracies are fractions; `wall_seconds` counts the trial's whole life."""

    row: EpochRow
    status: Status
    wall_seconds: float
    test_acc: float | None = None
    test_loss: float | None = None
    gpu_memory_bytes: int | None = None

    @property
    def ended(self) -> bool:
        return self.status != "running"

    def to_plain(self) -> dict[str, Any]:
        """Nested plain values, for checkpoints and for Ray."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Report:
        return cls(**{**plain, "row": EpochRow(**plain["row"])})

    def columns(self, gpus: float) -> dict[str, Any]:
        """The columns of the trial's row after this report, for a trial that has so many GPUs."""
        columns: dict[str, Any] = {
            "status": self.status,
            "wall_seconds": self.wall_seconds,
            "gpu_seconds": self.wall_seconds * gpus,
        }
        if self.ended:
            columns["ended"] = datetime.now(UTC)
        if self.status == "diverged":
            columns["cause"] = f"the loss was not finite in epoch {self.row.epoch}"
        if self.test_acc is not None:
            columns.update(test_acc=self.test_acc, test_loss=self.test_loss)
        return columns
