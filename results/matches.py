"""Matches of a comparison, as its settings have them: their sentences, and the rows that belong to each.

`search.matching` writes them: measure, target, tolerance, and for each entry of the grid its solved widths, its size and
the hash of the variant that came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MATCH = "match"
"""The column that says under which match a row is ranked; a variant that meets two matches has two rows."""

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


def by_match(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table's rows, one for each match that a variant meets, with its label in `MATCH` and in the protocol."""
    matches = settings.get("match") or []
    if not matches:
        return [dict(row) for row in rows]
    told = []
    for match in matches:
        members = {variant["variant"] for variant in match["variants"] if variant["met"]}
        told += [
            {**row, MATCH: label(match), "protocol": (*row["protocol"], label(match))}
            for row in rows
            if row["variant"] in members
        ]
    known = {row["variant"] for row in told}
    rest = [{**row, MATCH: "", "protocol": (*row["protocol"], "")} for row in rows if row["variant"] not in known]
    return told + rest


def notes(settings: Mapping[str, Any], groups: Mapping[str, int]) -> list[str]:
    """A sentence for each match, with what was left out of it; `groups` is the group of rows under each label."""
    matches = settings.get("match") or []
    told = []
    for match in matches:
        group = groups.get(label(match))
        place = f"Group {group} is " if len(matches) > 1 and group is not None else ""
        missed = [left_out(variant) for variant in match["variants"] if not variant["met"]]
        out = f" Left out: {'; '.join(missed)}." if missed else ""
        sentence = f"{place}{matched(match)}."
        told.append(sentence[0].upper() + sentence[1:] + out)
    return told
