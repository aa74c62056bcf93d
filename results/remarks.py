"""What must be said beside a table, in plain sentences: what its numbers can show, and what they cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from results.front import cost_of, remark
from results.losses import remarks_on_losses
from results.matches import notes as match_notes
from results.protocol import IMPORTED, of_protocol
from results.ranks import ALIKE, listed, spans
from results.statistics import (
    accuracy_error,
    detectable_difference,
    equal_spread_p,
    pooled_deviation,
    pooled_interval,
)
from results.text import counted

UNEQUAL = 0.01
"""Below this p of Bartlett's test it is said that pooling is doubtful."""
SHOWN = 5e-5
"""A fraction below it is printed as 0.00 points."""
SCREENING_SEEDS = 3
"""Up to so many seeds a variant, a table finds candidates and proves nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How far the seeds of one variant lie apart, pooled over all variants of one protocol."""

    deviation: float
    """A fraction; NaN where no variant has two seeds."""
    freedom: int
    p_equal: float = math.nan
    """Of Bartlett's test that all variants vary alike."""

    @classmethod
    def over(cls, groups: Sequence[Sequence[float]]) -> Self:
        """Of the values of each variant's seeds."""
        deviation, freedom = pooled_deviation(groups)
        return cls(deviation=deviation, freedom=freedom, p_equal=equal_spread_p(groups))

    @property
    def doubt(self) -> list[str]:
        """A sentence where the seeds of some variants clearly lie further apart than those of others."""
        if not self.p_equal < UNEQUAL:
            return []
        said = (
            f"Some variants vary more between seeds than others (Bartlett's test, p = {self.p_equal:.2g}), which the "
            "pooled deviation hides: tests are too sure of those that vary most."
        )
        return [said]


def is_screening(rows: pd.DataFrame) -> bool:
    """Whether a ranked variant has so few seeds that the order is a basis for the next comparison, not for a claim."""
    ranked = rows[rows["rank"].notna()] if len(rows) else rows
    return bool(len(ranked)) and int(ranked["seeds"].min()) <= SCREENING_SEEDS


def remarks(
    rows: pd.DataFrame,
    trials: pd.DataFrame,
    settings: Mapping[str, Mapping[str, Any]],
    spreads: Mapping[tuple[str, ...], Spread],
    *,
    is_comparison: bool,
) -> list[str]:
    """The sentences, the most important first; `settings` by search, `spreads` by protocol."""
    if not len(rows):
        return ["No trial has been started yet."]
    notes = []
    several = rows["group"].nunique() > 1
    for name, values in settings.items():
        notes += match_notes(values, rows[rows["search"] == name])
    for protocol, spread in spreads.items():
        own = of_protocol(rows, protocol)
        notes += _of_spread(own, spread, f"{named_groups(own['group'])}: " if len(spreads) > 1 else "")
        if spread.freedom:
            for group, ranked in own[own["rank"].notna()].groupby("group"):
                notes += _of_best(ranked, f"Group {group}: " if several else "")
    if is_comparison and not any(spread.freedom for spread in spreads.values()) and rows["rank"].notna().any():
        notes.append("One seed a variant shows no spread: no difference in this table is resolved. Add --seeds.")
    searched = _searched_firsts(rows, settings)
    if searched:
        is_all = len(searched) == rows.loc[rows["rank"].notna(), "group"].nunique()
        of = "" if is_all else f"{named_groups(pd.Series(searched))}: "
        notes.append(
            f"{of}The first row is searched, unconfirmed: the best of many single runs looks better than it is. Compare "
            "it with fresh seeds before you believe it."
        )
    elif is_screening(rows):
        notes.append(
            f"Screening: with {SCREENING_SEEDS} seeds a variant or fewer this table finds candidates; a claim needs "
            "fresh seeds."
        )
    images = {int(values["val_images"]) for values in settings.values() if values.get("val_images")}
    known = rows["val_acc"].dropna()
    if len(images) == 1 and len(known):
        count = images.pop()
        error = accuracy_error(float(known.iloc[0]), count)
        if error >= SHOWN:  # an accuracy of 100 % has none by this formula
            notes.append(
                f"One accuracy on {count:,} validation images has a standard error of {100 * error:.2f} points."
            )
    stopping = any(not values.get("grid") and values.get("scheduler") != "none" for values in settings.values())
    if stopping and (rows["status"] == "stopped").any():
        notes.append(
            "Stopped variants stand below, by the epochs that they reached, by accuracy within one rung; they have no rank."
        )
    if "front" in rows and (cost := cost_of(settings)) is not None:
        notes.append(remark(cost))
    if several:
        notes.append(
            "Variants of different data, epochs, batch, augmentation or match are ranked in groups of their own."
        )
    if (rows[IMPORTED] != "").any():
        notes.append(
            "Imported rows have no rank: their accuracy is that of the best epoch, which was chosen on the test images, "
            "so it is a little high and compares with no other column."
        )
    notes += remarks_on_losses(list(trials["id"]), list(trials["provenance"]))
    sources = {(provenance or {}).get("source_hash") for provenance in trials["provenance"]} - {None}
    if len(settings) > 1 and len(sources) > 1:
        notes.append(f"These searches were trained by {len(sources)} different states of the code.")
    return notes


def _searched_firsts(rows: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """The groups whose first row is the best of many single runs of a search, whatever is joined to that."""
    ranked = rows[rows["rank"].notna()]
    found = []
    for group, own in ranked.groupby("group"):
        name = own["search"].iloc[0]
        is_searched = settings[name].get("grid") is None
        if is_searched and (own.loc[own["search"] == name, "seeds"] == 1).any():
            found.append(int(str(group)))
    return found


def named_groups(groups: pd.Series) -> str:
    """`Group 1`, or `Groups 1, 2`."""
    numbers = sorted(set(groups))
    return f"Group{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _of_spread(rows: pd.DataFrame, spread: Spread, name: str) -> list[str]:
    """What the seeds of one protocol can show."""
    if not spread.freedom:
        return []
    ranked = rows[rows["rank"].notna()]
    seeds = int(ranked["seeds"].min()) if len(ranked) else 0
    said = (
        f"{name}Between seeds the standard deviation is {100 * spread.deviation:.2f} points (pooled, "
        f"{counted(spread.freedom, 'degree')} of freedom)."
    )
    gap = detectable_difference(spread.deviation, seeds, freedom=spread.freedom)
    if gap >= SHOWN:  # by equal seeds every difference would be found; NaN without a ranked row
        said += (
            f" With {counted(seeds, 'seed')} a variant, a difference of {100 * gap:.2f} points is found "
            "with 80 % power between two variants that were named before; smaller ones are not resolved by this table."
        )
    return [said, *_of_ties(ranked, spread, name), *spread.doubt]


def _of_ties(ranked: pd.DataFrame, spread: Spread, name: str) -> list[str]:
    """What an interval that is printed as ± 0.00 hides."""
    tied = ranked[ranked["interval"] < SHOWN]
    if not len(tied):
        return []
    seeds = int(tied["seeds"].min())
    half = pooled_interval(spread.deviation, spread.freedom, seeds)
    known = f"; by the pooled deviation the mean of {seeds} seeds is known to ± {100 * half:.2f} points"
    said = "± 0.00 is no certainty: a variant's few seeds came to the same accuracy, as happens by chance"
    return [f"{name}{said}{known if half >= SHOWN else ''}."]


def _of_best(ranked: pd.DataFrame, name: str) -> list[str]:
    """Which rows of a group no test tells apart from its best."""
    if len(ranked) < 2:
        return []
    tests = "t tests with the pooled deviation, Holm's correction over all pairs, 5 %"
    top = ranked[ranked["top"].fillna(False)]
    last = int(top["rank"].max())
    if last > 1 and spans(ranked):
        rest = "" if last == int(ranked["rank"].max()) else " Ranks below are the order of the means."
        return [f"{name}Rows of rank 1-{last} are not distinguishable from the best ({tests}).{rest}"]
    if last > 1:
        said = (
            f"{name}Rows of rank {listed([int(rank) for rank in top['rank']])} are not distinguishable from the best "
            f"({tests}); below the best they are marked {ALIKE}. Ranks are the order of the means, of which one over many "
            "seeds may be told apart where a lower one over few is not."
        )
        return [said]
    if len(top) > 1:
        return [f"{name}The rows of rank 1 are equal in their means."]
    return [f"{name}The best is told apart from every other row ({tests})."]
