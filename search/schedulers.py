"""The schedulers by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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


def judge_again(
    scheduler: Scheduler,
    judged: Iterable[tuple[str, int]],
    trials: Mapping[str, tuple[Entrant, Sequence[float | None]]],
) -> None:
    """Bring a new scheduler to where a killed one was, by telling it what that was told, in that order.

    Where a scheduler judges, it leaves a decision, and those are in the order of their commits. What it only took note of
    (before the grace, between rungs) concerns one trial alone, so its place among other trials' reports does not matter.

    Args:
        judged: trial and epoch of each decision, in their order.
        trials: each trial's values at epochs 1, 2, ..., but for a report with which it ended by itself.
    """
    done = dict.fromkeys(trials, 0)

    def up_to(trial_id: str, epoch: int) -> None:
        entrant, values = trials[trial_id]
        for number in range(done[trial_id] + 1, epoch + 1):
            scheduler.judge(entrant, number, values[number - 1])
        done[trial_id] = max(epoch, done[trial_id])

    for trial_id, epoch in judged:
        up_to(trial_id, epoch)
    for trial_id, (_, values) in trials.items():
        up_to(trial_id, len(values))


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
