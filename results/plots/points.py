"""The variants that a picture of keys draws, and the sentence about those that it leaves out."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from results.table import Table

REASONS = {
    "stopped": "stopped early",
    "running": "not ended",
    "paused": "not ended",
    "interrupted": "not ended",
    "pending": "not begun",
}
"""A status in the words of a note; others are their own."""


def measured(table: Table) -> pd.DataFrame:
    """The variants of a table that ran to their end on all seeds and have a validation accuracy, each once."""
    return _with_accuracy(table, complete=True)


def stopped(table: Table) -> pd.DataFrame:
    """Those that the scheduler stopped; the accuracies belong to earlier epochs and say only where the search looked."""
    rows = _with_accuracy(table, complete=False)
    return rows[rows["status"] == "stopped"] if len(rows) else rows


def what_is_drawn(table: Table, drawn: pd.DataFrame, *others: pd.DataFrame) -> str:
    """What stands behind the points, and what is left out: `searched, unconfirmed: ...; left out: 1 failed, 2 diverged`."""
    seeds = sorted(set(drawn["seeds"]))
    if not table.is_comparison:
        parts = ["searched, unconfirmed: one seed a variant, and the best of many looks better than it is"]
    elif seeds == [1]:
        parts = ["one seed a variant"]
    else:
        parts = [f"means over {' or '.join(str(number) for number in seeds)} seeds"]
    groups = drawn["protocol"].nunique()
    if groups > 1:
        parts.append(f"{groups} protocols (data, epochs, batch, augmentation), whose accuracies compare badly")
    shown = set(pd.concat([drawn, *others])["variant"])
    out = table.rows[~table.rows["variant"].isin(shown)].drop_duplicates("variant")
    if len(out):
        parts.append(f"left out: {_counted(out)}")
    return "; ".join(parts)


def _counted(rows: pd.DataFrame) -> str:
    words: Counter[str] = Counter()
    for row in rows.to_dict("records"):
        if row["complete"]:
            words["without a value"] += 1
        elif row["planned"] > 1:
            words["without all seeds"] += 1
        else:
            words[REASONS.get(row["status"], row["status"])] += 1
    return ", ".join(f"{count} {word}" for word, count in words.most_common())


def _with_accuracy(table: Table, *, complete: bool) -> pd.DataFrame:
    """Also with the kind where all variants share it, for it names their points."""
    rows = table.rows
    if not len(rows):
        return rows
    kept = rows[(rows["complete"] == complete) & rows["val_acc"].notna()].drop_duplicates("variant")
    return kept.assign(ffn=table.common["ffn"]) if "ffn" in table.common else kept
