"""Results: the store, tables and pictures. Neither torch nor ray is needed to read them.

import results
frames = results.load("sqlite:///runs/arbor.db")
frames.trials.groupby("variant").val_acc.agg(["mean", "std", "count"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.frames import Frames, load

__all__ = ["Frames", "load"]


def __getattr__(name: str) -> Any:
    """`results.load` and `results.Frames`, imported at first use: pandas is not needed to open a store."""
    if name in __all__:
        from results import frames

        return getattr(frames, name)
    raise AttributeError(f"module 'results' has no attribute {name!r}")
