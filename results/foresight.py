"""What difference a comparison will be able to show, before it is run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from results.protocol import PROTOCOL
from results.remarks import Spread
from results.statistics import detectable_difference
from results.store import Store
from results.text import counted
from results.tuned import LR_TUNING

ASSUMED_DEVIATION = 0.005
"""Between seeds, where the store has no like trials: what cifar10deepspeed's runs of one variant show, 0.4 to 0.6 points."""
ASSUMED_ACCURACY = 0.8
"""Where few validation images make the deviation larger: it is taken for that of as many images drawn independently."""
COMPLETE = frozenset({"finished", "plateau"})


def spread_before(store: Store, config: Mapping[str, object], checksum: str) -> Spread:
    """The deviation between seeds of all trials in the store that have this protocol and these data."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for search in store.searches():
        for trial in store.trials(search.id):
            same = LR_TUNING not in trial.provenance  # a chosen rate's value looks better than it is
            same = same and all(trial.config.get(key) == config.get(key) for key in PROTOCOL)
            same = same and trial.provenance.get("data_checksum") == checksum
            if same and trial.status in COMPLETE and trial.val_acc is not None:
                found[search.id, trial.variant][trial.seed] = trial.val_acc
    return Spread.over([list(values.values()) for values in found.values()])


def foresight(spread: Spread, variants: int, seeds: int, images: int) -> str:
    """One sentence on what so many seeds of so many variants will be able to show on so many validation images."""
    if seeds < 2:
        return "One seed a variant will resolve no difference; the best of many single runs looks better than it is."
    if spread.freedom:
        deviation = spread.deviation
        source = f"from like trials in the store, {counted(spread.freedom, 'degree')} of freedom"
    else:
        deviation = max(ASSUMED_DEVIATION, math.sqrt(ASSUMED_ACCURACY * (1 - ASSUMED_ACCURACY) / images))
        source = f"assumed of {images:,} validation images, for the store has no like trials"
    gap = detectable_difference(deviation, seeds, freedom=variants * (seeds - 1))
    return (
        f"With {seeds} seeds a variant, a difference of {100 * gap:.2f} points will be found with 80 % power between two "
        f"variants (standard deviation between seeds {100 * deviation:.2f} points, {source})."
    )
