"""By what curves and points are coloured: by kind, and by variant where all are of one kind, which one colour would hide."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from results.cells import trial_of
from results.plots.style import COLOURS, MARKERS, families, styles_of
from results.table import Table
from results.text import keys_text, plain

MOST_NAMED = len(COLOURS)
"""Variants that have a colour of their own; of more of them the best ones have, and the rest is grey."""
LONGEST = 36
"""Characters of a name in a legend; a longer one begins with the number of its trial, by which the table has the rest."""
GREY = "#999999"


@dataclass(frozen=True, slots=True)
class Colouring:
    """The name of each trial in a legend, and each name's colour and marker, in the legend's order."""

    names: Mapping[str, str]
    """By the trial's id."""
    styles: Mapping[str, tuple[str, str]]
    by_variant: bool


def colouring(trials: pd.DataFrame, table: Table) -> Colouring:
    """Of the trials of a search.

    Args:
        table: of the same search with every variant; the best ones, its first rows, are those that have a colour.
    """
    rows = table.rows.drop_duplicates("variant") if len(table.rows) else table.rows
    if len(rows) < 2 or "ffn" not in trials or trials["ffn"].nunique() > 1:
        kinds = families(trials) if len(trials) else pd.Series(dtype=object)
        names = {str(trial): plain(name) for trial, name in zip(trials["id"], kinds, strict=True)}
        return Colouring(names, styles_of(set(names.values())), by_variant=False)
    named = rows if len(rows) <= MOST_NAMED else rows.head(MOST_NAMED - 1)
    labels = _labels(named, table)
    rest = f"{len(rows) - len(named)} other variants"
    styles = {name: (COLOURS[n], MARKERS[n]) for n, name in enumerate(labels.values())}
    return Colouring(
        {
            str(trial): labels.get(str(variant), rest)
            for trial, variant in zip(trials["id"], trials["variant"], strict=True)
        },
        styles | ({rest: (GREY, "o")} if len(rows) > len(named) else {}),
        by_variant=True,
    )


def _labels(rows: pd.DataFrame, table: Table) -> dict[str, str]:
    """The table's words for each variant, by its hash: short, and no two alike."""
    told = [(row, plain(keys_text(row, table.telling))) for row in rows.to_dict("records")]
    often = Counter(words for _, words in told)
    return {
        str(row["variant"]): words
        if len(words) <= LONGEST and often[words] == 1
        else textwrap.shorten(f"{trial_of(row)} {words}", LONGEST, placeholder=" …")
        for row, words in told
    }
