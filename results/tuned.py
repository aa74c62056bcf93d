"""Trials that tuned a learning rate: they never count as seeds of a variant, and a table says what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.rows import TrialRow
from results.text import amount, counted, keys_text, plain, short

if TYPE_CHECKING:
    import pandas as pd  # the store knows the marks, and opens without pandas

COMPLETE = frozenset({"finished", "plateau"})
LR_TUNING = "lr_tuning"
"""The key in a trial's provenance that marks it, with the rate that it tries."""
GIVEN = "given_variant"
"""Where rates are tuned, the key in every trial's provenance for the hash of its variant at the rate that was given."""


def is_tuning(trials: pd.DataFrame) -> pd.Series:
    """Which rows of the trials frame tuned a learning rate."""
    return trials["provenance"].map(lambda provenance: LR_TUNING in (provenance or {})).astype(bool)


def that_count(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials but for those that tuned a learning rate."""
    return [trial for trial in trials if LR_TUNING not in trial.provenance]


def passed_over(count: int) -> str:
    """`12 trials that tuned a learning rate are passed over`."""
    return f"{counted(count, 'trial')} that tuned a learning rate {'is' if count == 1 else 'are'} passed over"


def given_variants(trials: pd.DataFrame) -> pd.Series:
    """The hash of each trial's variant before its rate was tuned; its own where it was not."""
    given = trials["provenance"].map(lambda provenance: (provenance or {}).get(GIVEN))
    return given.astype(object).where(given.notna(), trials["variant"])


def tuning_notes(
    settings: Mapping[str, Any], trials: pd.DataFrame, rows: pd.DataFrame, varying: list[str]
) -> list[str]:
    """What tuning the rates of a comparison took, and whose best rate lies at an end of those tried; none if not done.

    Args:
        trials: all trials of the search, those that tuned a rate too.
        rows: the variants of its table.
    """
    factors = settings.get("tune_lr")
    if not factors:
        return []
    tuning = trials[is_tuning(trials)] if len(trials) else trials
    ended = tuning[tuning["ended"].notna()] if len(tuning) else tuning
    every = len(settings["grid"]) * len(factors)
    times = f"{', '.join(f'{factor:g}' for factor in factors)} times the given one"
    if len(ended) < every:
        said = (
            f"Learning rates are being tuned: {len(ended)} of {every} trials ({len(factors)} rates x 1 seed for each "
            f"variant, {times}) have ended; they do not count as seeds."
        )
        return [said]
    on_gpu = bool((tuning["gpu_seconds"] > 0).any())
    seconds = tuning["gpu_seconds" if on_gpu else "wall_seconds"].fillna(0.0)
    said = (
        f"Learning rate tuned for each variant: {len(factors)} rates x 1 seed, {amount(round(seconds.sum()))} "
        f"{'GPU-seconds' if on_gpu else 'seconds on CPUs'}; {times}, with the data, batch and epochs of the seeds that "
        "count, by validation accuracy at the last epoch; the tuning seed does not count."
    )
    notes = [said]
    labels = {str(row["variant"]): plain(keys_text(row, varying)) for row in rows.to_dict("records")}
    for _, own in tuning.groupby(given_variants(tuning), sort=False):
        notes += _of_variant(own, labels)
    return notes


def _of_variant(own: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """What must be said of one variant's rates: none came to its end, or the best is the first or last of the list."""
    told = own[own["status"].isin(COMPLETE) & own["val_acc"].notna()]
    if not len(told):
        named = labels.get(str(given_variants(own).iloc[0]), str(own["ffn"].iloc[0]))
        return [f"No rate of {named} came to its end while they were tuned, so its given one was trained."]
    best = told.sort_values(["val_acc", "lr"], ascending=[False, True]).iloc[0]
    label = labels.get(str(best["variant"]), str(best["ffn"]))
    for end, rate, other in (("largest", own["lr"].max(), "larger"), ("smallest", own["lr"].min(), "smaller")):
        if best["lr"] == rate:
            return [f"The best rate of {label} is the {end} tried ({short(float(rate))}); a {other} one may be better."]
    return []


def untuned_notes(settings: Mapping[str, Any], rows: pd.DataFrame, varying: list[str]) -> list[str]:
    """Of a comparison whose rates were not tuned the sentence that says so; none where its settings do not say either."""
    if "tune_lr" not in settings or settings["tune_lr"] or settings.get("grid") is None or not len(rows):
        return []
    if settings.get("confirms"):
        return ["Learning rates are those of the search; they were not tuned again."]
    if "lr" in varying:
        return ["Learning rates as given, not tuned for each variant (--tune-lr does that)."]
    return ["One learning rate for all, not tuned for each variant (--tune-lr does that)."]
