"""What difference a comparison will be able to show, before it is run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from results.protocol import CHECKSUM, IMPORTED, PROTOCOL
from results.remarks import SHOWN, Spread
from results.statistics import detectable_difference
from results.store import Store
from results.table import spread_among
from results.text import counted
from results.tuned import LR_TUNING

ASSUMED_DEVIATION = 0.005
"""Between seeds, where the store has no like trials: what cifar10deepspeed's runs of one variant show, 0.4 to 0.6 points."""
ASSUMED_ACCURACY = 0.8
"""Where few validation images make the deviation larger: it is taken for that of as many images drawn independently."""
COLUMNS = ("search_id", "variant", "seed", "status", "train_loss", "val_loss", "val_acc", "test_acc")
"""Of a trial, those by which the spread is pooled and one run is known from another."""


def spread_before(store: Store, config: Mapping[str, object], checksum: str) -> Spread:
    """The deviation between seeds of all trials in the store that have this protocol and these data."""
    like = [
        trial
        for search in store.searches()
        for trial in store.trials(search.id)
        if LR_TUNING not in trial.provenance  # a chosen rate's value looks better than it is
        and all(trial.config.get(key) == config.get(key) for key in PROTOCOL)
        and trial.provenance.get("data_checksum") == checksum
    ]
    if not like:
        return Spread.over([])
    return spread_among(
        pd.DataFrame(
            {
                **{name: [getattr(trial, name) for trial in like] for name in COLUMNS},
                "epochs_run": [trial.epochs for trial in like],
                CHECKSUM: checksum,
                IMPORTED: "",
            }
        )
    )


def foresight(spread: Spread, variants: int, seeds: int, images: int) -> str:
    """One sentence on what so many seeds of so many variants will be able to show on so many validation images."""
    if seeds < 2:
        return "One seed a variant will resolve no difference; the best of many single runs looks better than it is."
    if spread.deviation >= SHOWN:  # NaN without like trials
        deviation = spread.deviation
        source = f"from like trials in the store, {counted(spread.freedom, 'degree')} of freedom"
    else:
        deviation = max(ASSUMED_DEVIATION, math.sqrt(ASSUMED_ACCURACY * (1 - ASSUMED_ACCURACY) / images))
        why = (
            "the seeds of like trials in the store agree exactly" if spread.freedom else "the store has no like trials"
        )
        source = f"assumed of {images:,} validation images, for {why}"
    gap = detectable_difference(deviation, seeds, freedom=variants * (seeds - 1))
    return (
        f"With {seeds} seeds a variant, a difference of {100 * gap:.2f} points will be found with 80 % power between two "
        f"variants (standard deviation between seeds {100 * deviation:.2f} points, {source})."
    )
