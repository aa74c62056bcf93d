"""What a search had shown of variants that fresh seeds confirmed: a column beside their means, and the winner's curse.

The settings of a confirmation say under `confirms` which search and trials it is of (see `search.confirm`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from results.frames import Frames
from results.ranks import rank_text, spans
from results.statistics import difference, pooled_deviation
from results.text import keys_text, missing, plain

SEARCHED = "searched_val_acc"
"""The column of a table: the validation accuracy that the search had found for the variant, a fraction; nothing where the
variant trains at another rate now."""


def with_searched(rows: pd.DataFrame, frames: Frames, settings: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of a table, those of a confirmation with `SEARCHED`; without a confirmation as they are.

    Args:
        rows: with `search`, `variant` and `given`, the hash that the variant was given before its rate was tuned.
        settings: of each search, by its id.
    """
    if not any(values.get("confirms") for values in settings.values()):
        return rows
    values = dict(zip(frames.trials["id"], frames.trials["val_acc"], strict=True))
    found = {
        (name, each["variant"]): values.get(each["trial"])
        for name, own in settings.items()
        for each in (own.get("confirms") or {}).get("variants", ())
    }
    searched = [found.get(key) for key in zip(rows["search"], rows["variant"], strict=True)]
    if all(missing(value) for value in searched):
        return rows
    return rows.assign(**{SEARCHED: pd.array(searched, dtype="Float64").astype("float64")})


def confirmed_notes(
    confirms: Mapping[str, Any], rows: pd.DataFrame, table: pd.DataFrame, varying: list[str]
) -> list[str]:
    """What the confirmation of a search shows; `rows` are its own of the `table`, with `SEARCHED`."""
    notes = []
    order = {each["variant"]: place for place, each in enumerate(confirms["variants"])}
    done = [row for row in rows.to_dict("records") if row["complete"] and row["values"]]
    chosen = sorted((row for row in done if row["given"] in order), key=lambda row: order[row["given"]])
    deviation, freedom = pooled_deviation([row["values"] for row in done])
    same = [row for row in chosen if not _is_retuned(row)]
    if same:
        notes.append(_curse(confirms, same, deviation, freedom))
    if len(same) < len(chosen):
        notes.append(_retuned(chosen, len(chosen) - len(same)))
    baseline = next((row for row in done if row["given"] == confirms["baseline"]["variant"]), None)
    if chosen and chosen[0]["given"] == confirms["variants"][0]["variant"]:
        notes.append(_first(confirms, chosen[0], baseline, table, varying, deviation, freedom))
    if baseline is not None:
        kind = "named by the experiment" if confirms["baseline"]["named"] else "the dense default"
        notes.append(
            f"The baseline is {plain(keys_text(baseline, varying))}, {kind}; all but its feed-forward part is as in "
            f"{confirms['baseline']['recipe']}."
        )
    return notes


def _is_retuned(row: Mapping[Any, Any]) -> bool:
    """Whether it trains at another learning rate than the search's."""
    return bool(row["variant"] != row["given"])


def _retuned(chosen: Sequence[Mapping[Any, Any]], count: int) -> str:
    which = "All" if count == len(chosen) else f"{count} of the {len(chosen)}"
    return (
        f"{which} confirmed variants train at another learning rate than the search's: the difference from what it found "
        "would mix the new rate with luck, so it is not shown."
    )


def _curse(confirms: Mapping[str, Any], chosen: Sequence[Mapping[Any, Any]], deviation: float, freedom: int) -> str:
    """The mean of confirmed minus searched over k variants, each of n_i seeds.

    The searched values are facts, so the interval is that of the confirmed means alone: s / k sqrt(sum 1/n_i) times t.
    """
    k = len(chosen)
    gap = sum(row["val_acc"] - row[SEARCHED] for row in chosen) / k
    of = len(confirms["variants"])
    which = f"the {k} variants" if k == of else f"{k} of the {of} variants"
    said = (
        f"Winner's curse: over {which} confirmed (of {confirms['ranked']} that {confirms['search']} ranked by one run each) "
        f"the mean of confirmed minus searched is {100 * gap:+.2f} points"
    )
    if not freedom:
        return f"{said}; one seed a variant shows no interval, so add seeds."
    half = float(stats.t.ppf(0.975, freedom)) * deviation / k * math.sqrt(sum(1 / len(row["values"]) for row in chosen))
    low, high = gap - half, gap + half
    if high < 0:
        verdict = "the search showed them better than they are"
    elif low > 0:
        verdict = "they are better than the search showed"
    else:
        verdict = "neither more nor less than the search showed is resolved"
    return f"{said} (95 % interval {100 * low:+.2f} to {100 * high:+.2f}): {verdict}."


def _first(
    confirms: Mapping[str, Any],
    first: Mapping[Any, Any],
    baseline: Mapping[Any, Any] | None,
    table: pd.DataFrame,
    varying: list[str],
    deviation: float,
    freedom: int,
) -> str:
    """Where the search's winner stands now. It was named before these seeds, so its test needs no correction."""
    ranked = table[(table["group"] == first["group"]) & table["rank"].notna()]
    retuned = ", another rate than it had there" if _is_retuned(first) else ""
    rank = rank_text(first, spans(table))
    where = f"in {plain(first['search'])}" if (ranked["search"] == first["search"]).all() else "here"
    said = (
        f"The search's winner, {confirms['variants'][0]['trial']} ({plain(keys_text(first, varying))}{retuned}), has rank "
        f"{rank} of {len(ranked)} {where}"
    )
    if baseline is None or baseline["given"] == first["given"]:
        return f"{said}."
    found = difference(first["values"], baseline["values"], deviation, freedom)
    against = f"{said}; against the baseline it is {100 * found.value:+.2f} points"
    if not found.freedom:
        return f"{against}, of one seed each."
    word = "different" if found.p < 0.05 else "not resolved"
    return f"{against} (95 % interval {100 * found.low:+.2f} to {100 * found.high:+.2f}, p = {found.p:.2g}): {word}."
