"""The schedulers by name."""

from __future__ import annotations

from search.asha import Asha
from search.hyperband import Hyperband
from search.median import Median
from search.verdict import NOT_JUDGED, Entrant, Scheduler, Verdict


class NoStopping:
    """Every trial runs to its horizon, as a comparison demands."""

    name = "none"
    rungs: tuple[int, ...] = ()

    def __init__(self, grace: int = 1, reduction: int = 2, epochs: int = 1) -> None:
        """The three settings of the others change nothing here."""

    def judge(self, trial: Entrant, epoch: int, value: float | None) -> Verdict:
        return NOT_JUDGED


SCHEDULERS: dict[str, type[Asha] | type[Hyperband] | type[Median] | type[NoStopping]] = {
    each.name: each for each in (Asha, Hyperband, Median, NoStopping)
}


def build_scheduler(name: str, grace: int, reduction: int, epochs: int) -> Scheduler:
    """A scheduler that has seen nothing yet. `name` is one of `SCHEDULERS`."""
    return SCHEDULERS[name](grace, reduction, epochs)


def in_words(name: str, rungs: tuple[int, ...], grace: int, reduction: int) -> str:
    """What a scheduler will do, for a line that announces a search."""
    epochs = ", ".join(map(str, rungs)) or "-"
    return {
        "asha": f"ASHA at epochs {epochs}, keeping 1 in {reduction}",
        "hyperband": f"Hyperband in {len(rungs) + 1} brackets over the epochs {epochs}, keeping 1 in {reduction}",
        "median": f"the median rule from epoch {grace} on",
        "none": "none stopped",
    }[name]


def degenerate(name: str, reduction: int, concurrency: int) -> str | None:
    """A sentence where so few trials at once leave successive halving little to compare; none where all is well."""
    if name not in ("asha", "hyperband") or concurrency >= reduction:
        return None
    return (
        f"Note: with {concurrency} at once and 1 in {reduction} kept, {'ASHA' if name == 'asha' else 'Hyperband'} judges "
        "the first trials against few others; the order of arrival matters."
    )
