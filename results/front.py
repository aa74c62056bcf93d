"""The Pareto front of a search for two objectives: accuracy, to be high, and a cost, to be low."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd


def cost_of(settings: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The second objective of these searches; none where one of them has none, or another."""
    costs = {tuple(values.get("objectives", ())[1:]) for values in settings.values()}
    return next(iter(costs.pop()), None) if len(costs) == 1 else None


def front(rows: pd.DataFrame, cost: str) -> pd.Series:
    """Whether each variant is complete and no other of its group is better in one and at least as good in the other."""
    marks = pd.Series(False, index=rows.index)
    for _, group in rows[rows["complete"] & rows["val_acc"].notna() & rows[cost].notna()].groupby("group"):
        best = -math.inf
        # from the cheapest up: more accurate than all that cost less, and than its equals in cost
        for _, equals in group.groupby(cost, sort=True):
            highest = equals["val_acc"].max()
            if highest > best:
                marks[equals.index[equals["val_acc"] == highest]] = True
                best = highest
    return marks


def remark(cost: str) -> str:
    """What is said beside a table with a front."""
    return (
        f"The front (*): complete variants that no other beats in accuracy or in {cost} without losing in the other. One "
        "seed each: a neighbour within the error above may belong there, too."
    )
