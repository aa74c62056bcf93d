"""Pairs of variants, judged by their seeds and, where two trials keep their predictions, by single images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from results.arms import Arm, counted_once, pairs_of
from results.errors import InputError
from results.frames import Frames
from results.images import ImageLevel, image_level, predictions_of
from results.protocol import differing, in_words, with_protocol
from results.remarks import SCREENING_SEEDS, Spread
from results.statistics import difference
from results.table import COMPLETE, measured, once
from results.text import counted
from results.verdict import Verdict, judge


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One pair of arms, with what the seeds and the images say."""

    a: Arm
    b: Arm
    verdict: Verdict | None
    """None where a side has no mean."""
    claim: str
    images: list[ImageLevel]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All pairs that were asked for."""

    metric: str
    """The column of the trials frame that is compared."""
    split: str
    margin: float
    """A fraction."""
    spread: Spread
    pairs: list[Compared]
    notes: list[str]

    @property
    def arms(self) -> list[Arm]:
        """Every side once, in the order in which they were named."""
        return list({arm.name: arm for pair in self.pairs for arm in (pair.a, pair.b)}.values())

    def mean(self, arm: Arm) -> float:
        """A side's mean, a fraction; NaN while it has none."""
        values = arm.values(self.metric)
        return sum(values) / len(values) if values and not arm.unfinished else math.nan


def compare(
    frames: Frames,
    names: Sequence[str],
    *,
    search: str | None = None,
    margin: float = 0.005,
    split: Literal["val", "test"] = "val",
    mix: bool = False,
) -> Comparison:
    """Compare the first of the names with each other one (see `pairs_of`); `margin` is a fraction.

    Raises:
        InputError: names that are unknown, ambiguous or fewer than two; sides of different protocols without `mix`;
            imported trials beside our own.
    """
    pairs = pairs_of(frames, names, search)
    arms = [arm for pair in pairs for arm in pair]
    imported = {arm.is_imported for arm in arms}
    if len(imported) > 1:
        raise InputError(
            "Imported trials have the accuracy of an epoch that was chosen on the test images, which no trial of Arbor "
            "has; compare imported ones with one another."
        )
    metric = "best_test_acc" if imported == {True} else f"{split}_acc"
    _require_one_protocol(pairs, mix=mix)
    pairs = [counted_once(a, b) if (a.search, a.variant) != (b.search, b.variant) else (a, b) for a, b in pairs]
    arms = [arm for pair in pairs for arm in pair]
    spread, pooled_over = _spread(frames, arms, metric)
    usable = [pair for pair in pairs if not _why_not(*pair, metric)]
    titles = _titles(arms)
    verdicts = dict(
        zip(
            [id(pair) for pair in usable],
            judge(
                [(titles[a.name], titles[b.name]) for a, b in usable],
                [difference(a.values(metric), b.values(metric), spread.deviation, spread.freedom) for a, b in usable],
                [(len(a.values(metric)), len(b.values(metric))) for a, b in usable],
                spread,
                margin,
            ),
            strict=True,
        )
    )
    compared, refused = [], []
    for pair in pairs:
        verdict = verdicts.get(id(pair))
        images, gone = _images(*pair, split)
        refused += gone
        claim = verdict.claim if verdict else f"No claim: {_why_not(*pair, metric)}"
        compared.append(Compared(a=pair[0], b=pair[1], verdict=verdict, claim=claim, images=images))
    result = Comparison(metric=metric, split=split, margin=margin, spread=spread, pairs=compared, notes=[])
    if spread.freedom:
        result.notes.append(
            f"The standard deviation between seeds is {100 * spread.deviation:.2f} points, pooled over every variant "
            f"of these searches that has several ({pooled_over}; {counted(spread.freedom, 'degree')} of freedom)."
        )
    result.notes.extend([*spread.doubt, *_cautions(result), *_of_images(result, list(dict.fromkeys(refused)))])
    return result


def _require_one_protocol(pairs: Sequence[tuple[Arm, Arm]], *, mix: bool) -> None:
    for a, b in pairs:
        if mix or not len(a.trials) or not len(b.trials):
            continue
        ours, theirs = a.trials["protocol"].iloc[0], b.trials["protocol"].iloc[0]
        parts = differing([ours, theirs])
        if parts:
            raise InputError(
                f"Both sides must have one protocol, but {a.name} has {in_words(ours, parts)} and {b.name} has "
                f"{in_words(theirs, parts)}; name others, or say --mix."
            )


def _spread(frames: Frames, arms: Sequence[Arm], metric: str) -> tuple[Spread, int]:
    """The deviation between seeds, pooled over every variant of the arms' searches and protocols, and their number."""
    trials = with_protocol(frames.trials_of(*(arm.search for arm in arms)))
    protocols = {protocol for arm in arms for protocol in arm.trials["protocol"]}
    ended = trials[trials["status"].isin(COMPLETE) & trials["protocol"].isin(protocols) & trials[metric].notna()]
    groups = [
        [float(value) for value in measured(group)[metric]]
        for _, group in once(ended).groupby(["search_id", "variant", "protocol"], sort=False)
    ]
    return Spread.over(groups), sum(len(group) > 1 for group in groups)


def _why_not(a: Arm, b: Arm, metric: str) -> str:
    """Why the seeds of two sides are not compared; empty where they are."""
    if (a.search, a.variant) == (b.search, b.variant):
        return f"{a.name} and {b.name} are trials of one variant ({a.label}), so their seeds are no two sides."
    if b.shared and b.trials.empty and not a.unfinished and not b.unfinished:
        return (
            f"every run of {b.name} stands in {a.name}, too ({_shared(b.shared)}), so there is nothing to compare; train "
            "other seeds."
        )
    reasons = []
    for arm in (a, b):
        if arm.unfinished:
            reasons.append(f"{arm.name} has no mean ({arm.unfinished})")
        elif not arm.values(metric):
            reasons.append(f"{arm.name} has no {metric}")
    way_out = "a mean over what is left would look better than the variant is. Let every seed run to its end."
    return f"{' and '.join(reasons)}; {way_out}" if reasons else ""


def _shared(runs: int) -> str:
    return f"{counted(runs, 'run')} with the same keys, seed{'' if runs == 1 else 's'} and results"


def _titles(arms: Sequence[Arm]) -> dict[str, str]:
    """What each side is called in a claim: its keys, with its search where there are several."""
    several = len({arm.search for arm in arms}) > 1
    titles = {arm.name: f"{arm.label} ({arm.search})" if several else arm.label for arm in arms}
    return titles if len(set(titles.values())) == len(titles) else {arm.name: arm.name for arm in arms}


def _images(a: Arm, b: Arm, split: str) -> tuple[list[ImageLevel], list[str]]:
    """The two trials that were named, or each pair of the two variants' trials with one seed; and why some are not there."""
    if a.is_imported or b.is_imported:
        return [], []
    both = [(x, y) for _, x in a.named.iterrows() for _, y in b.named.iterrows()]
    if not (a.trial and b.trial):
        both = [(x, y) for x, y in both if x["seed"] == y["seed"]]
    found, refused = [], []
    for x, y in both:
        try:
            found.append(image_level(x, y, split))
        except InputError as error:  # one file that is gone does not hide what the seeds say
            refused.append(str(error))
    return found, refused


def _of_images(found: Comparison, refused: list[str]) -> list[str]:
    """What to know of the image by image part, and what kept it from being whole."""
    notes = []
    images = [each for pair in found.pairs for each in pair.images]
    if images:
        shares = [(arm.name, _agreement_within(arm, found.split)) for arm in found.arms]
        known = [f"{100 * share:.1f} % in {name}" for name, share in shares if share is not None]
        notes.append(
            "McNemar's test is about these trained networks on these images, not about their variants: another seed is "
            "another network." + (f" Two seeds of one variant agree on {', '.join(known)}." if known else "")
        )
    if any(each.p is None for each in images):
        notes.append(
            "Which predictions are right is not known: the packed data set is not where it was, or has changed."
        )
    if refused:
        more = f" ({len(refused) - 1} more like this)" if len(refused) > 1 else ""
        notes.append(f"Not compared image by image: {refused[0]}{more}")
    return notes


def _cautions(found: Comparison) -> list[str]:
    arms = found.arms
    notes = [
        f"{pair.a.name} and {pair.b.name} share {_shared(pair.b.shared)}: no independent measurements, so each is counted "
        f"once, for {pair.a.name} alone."
        for pair in found.pairs
        if pair.b.shared
    ]
    chosen = [arm.name for arm in arms if arm.chosen]
    if chosen:
        notes.append(
            f"Picked out of many by the values that are compared, so looking better than it is: {' and '.join(chosen)}. "
            "Fresh seeds tell."
        )
    protocols = {protocol for arm in arms for protocol in arm.trials["protocol"]}
    if len(protocols) > 1:
        notes.append(
            f"The sides differ in {' and '.join(differing(list(protocols)))}, too, so a difference is not that of the "
            "variants alone."
        )
    counts = [len(arm.values(found.metric)) for arm in arms if not arm.unfinished]
    if counts and 0 < min(counts) <= SCREENING_SEEDS:
        notes.append(f"Screening: a side has {counted(min(counts), 'seed')}; confirm with fresh ones.")
    if found.metric == "best_test_acc":
        notes.append("These are imported accuracies of the best epoch, chosen on the test images.")
    return notes


def _agreement_within(arm: Arm, split: str) -> float | None:
    """The mean share of images on which two trials of a variant predict the same class."""
    kept = []
    for _, trial in arm.trials.iterrows():
        try:
            kept.append(predictions_of(trial, split))
        except InputError:
            continue
    shares = [float(np.mean(a == b)) for a, b in combinations(kept, 2) if a.shape == b.shape]
    return sum(shares) / len(shares) if shares else None
