"""When a search ran, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.text import missing

MINUTE = "%Y-%m-%d %H:%M"


def period(search: Mapping[str, Any], trials: pd.DataFrame) -> str:
    """From its begin to the end of its last trial, in UTC; of one that was taken in from elsewhere, when that was."""
    began = search["created"]
    ended = trials["ended"].max() if len(trials) and search["status"] == "ended" else None
    if missing(ended):
        return f"{began:{MINUTE}} UTC"
    if ended < began:
        return f"its trials until {ended:{MINUTE}}, taken in on {began:{MINUTE}} UTC"
    return f"{began:{MINUTE}} to {ended:{MINUTE}} UTC"
