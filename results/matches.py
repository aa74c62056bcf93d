"""Matches of a comparison, as its settings have them: their sentences, and the rows that belong to each.

`search.matching` writes them: measure, target, tolerance, and for each entry of the grid its solved widths, its size and
the hash of the variant that came of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from results.tuned import given_variants

MATCH = "match"
"""The column that says under which match a trial is ranked; one whose variant meets two matches stands in two groups."""

QUANTITIES = {
    "parameters": "parameters of the feed-forward part",
    "neurons_used": "neurons used by the feed-forward part",
    "macs": "multiply-adds an image of the feed-forward part",
    "macs_conditional": "conditional multiply-adds an image of the feed-forward part",
}


def matched(match: Mapping[str, Any]) -> str:
    """`matched: parameters of the feed-forward part = 262,912 within 1 %`."""
    return f"matched: {QUANTITIES[match['measure']]} = {_number(match['target'])} within {100 * match['tolerance']:g} %"


def label(match: Mapping[str, Any]) -> str:
    """`parameters = 262,912`, what stands in the column `MATCH`."""
    return f"{match['measure']} = {_number(match['target'])}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def variant_words(asked: Mapping[str, Any]) -> str:
    """An entry of a grid in a few words: `fff depth=7 layout=pair`."""
    kind = asked.get("ffn", "mlp")
    others = [f"{key.rpartition('.')[2]}={value}" for key, value in asked.items() if key != "ffn"]
    return " ".join([str(kind), *others])


def left_out(variant: Mapping[str, Any]) -> str:
    """`fff depth=8 with trees=1 comes to 523,775 (+99.2 %)`, or why else a variant is no part of a match."""
    words = variant_words(variant["asked"])
    widths = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in variant["widths"].items())
    how = f" with {widths}" if widths else ""
    if variant["why"]:
        return f"{words}{how}: {variant['why'].rstrip('.')}"
    return f"{words}{how} comes to {variant['size']:,} ({100 * variant['deviation']:+.3g} %)"


def by_match(trials: pd.DataFrame, settings: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The trials, those of matched searches once for each match that their variant meets, with its label in `MATCH`.

    Args:
        settings: of each search, by its id. Where none has a match, the trials come back as they are.
    """
    if not any(values.get("match") for values in settings.values()):
        return trials
    parts = []
    for search, values in settings.items():
        own = trials[trials["search_id"] == search]
        rest = pd.Series(True, index=own.index)
        for match in values.get("match") or []:
            members = given_variants(own).isin([each["variant"] for each in match["variants"] if each["met"]])
            parts.append(own[members].assign(**{MATCH: label(match)}))
            rest &= ~members
        parts.append(own[rest].assign(**{MATCH: ""}))
    return pd.concat(parts, ignore_index=True)


def notes(settings: Mapping[str, Any], rows: pd.DataFrame) -> list[str]:
    """A sentence for each match of a search, with the group of its rows where there are several, and what was left out."""
    matches = settings.get("match") or []
    groups = dict(zip(rows[MATCH], rows["group"], strict=True)) if len(matches) > 1 and MATCH in rows else {}
    told = []
    for match in matches:
        group = groups.get(label(match))
        sentence = (f"Group {group} is " if group is not None else "") + matched(match)
        missed = [left_out(variant) for variant in match["variants"] if not variant["met"]]
        out = f" Left out: {'; '.join(missed)}." if missed else ""
        told.append(f"{sentence[0].upper()}{sentence[1:]}.{out}")
    return told
