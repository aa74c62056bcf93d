"""The answer of a report: a sentence or two, from the numbers of the table alone, no surer than they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.comparison import Comparison, compare
from results.errors import InputError
from results.frames import Frames
from results.protocol import with_protocol
from results.remarks import Spread
from results.statistics import difference
from results.table import Table, spread_of, variants
from results.text import counted, keys_text, percent, plain
from results.verdict import DIFFERENT, EQUIVALENT, NOT_RESOLVED

MOST_COMPARED = 40
"""Variants beyond which the report compares none with the first: every pair costs a look at predictions."""
NAMED = 3
MOST_NAMED = 6
"""Variants with each of which the answer compares the first that was named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a report says first."""

    standing: str
    """In a few words, how far the answer may be trusted."""
    sentences: list[str]


def answer(frames: Frames, table: Table, search_id: str, found: Comparison | None = None) -> Answer:
    """The answer of one search; `found` is what `against_first` gives."""
    search = frames.search(search_id)
    settings = search["settings"]
    rows = table.rows
    if not len(rows):
        return Answer(standing="no result yet", sentences=["No trial has been started yet."])
    running = _still(search["status"], frames.trials_of(search_id))
    if (rows["imported"] != "").all():
        return Answer(standing="imported, not ranked", sentences=_imported(rows, table))
    ranked = rows[rows["rank"].notna() & rows["val_acc"].notna()]
    if not len(ranked):
        counts = Counter(frames.trials_of(search_id)["status"])
        how = ", ".join(f"{count} {word}" for word, count in counts.most_common())
        what = "No variant has all its seeds" if table.is_comparison else "No variant has run to its end"
        return Answer(standing="no result yet", sentences=[f"{what}, so nothing is ranked (trials: {how}).", *running])
    several = ranked["group"].nunique() > 1
    sentences = []
    for group, own in list(ranked.groupby("group"))[:NAMED]:
        said = _compared(frames, table, own, search_id) if table.is_comparison else _searched(rows, table, own)
        sentences += [f"Group {group}: {said[0]}" if several else said[0], *said[1:]]
    confirms = bool(settings.get("confirms"))
    if confirms:
        sentences = [*_winner(table), *sentences]
        return Answer(standing="confirmation with fresh seeds", sentences=[*sentences, *running])
    if table.is_comparison:
        first = [] if several else _of_first(ranked, found)
        return Answer(standing=_standing(table, ranked), sentences=[*sentences, *first, *running])
    confirmed = [name for name in confirmations(frames, search_id) if len(_notes_of(frames, name))]
    for name in confirmed:
        sentences += [f"Trained again in {name}: {note}" for note in _notes_of(frames, name)]
    standing = f"searched; see its confirmation {', '.join(confirmed)}" if confirmed else "searched, unconfirmed"
    return Answer(standing=standing, sentences=[*sentences, *running])


def against_first(frames: Frames, table: Table, search_id: str) -> Comparison | None:
    """Every variant of a comparison against the first that its experiment names (of a confirmation: the baseline).

    None where it is no comparison, has one variant or too many, or where sides cannot be compared.
    """
    names = _in_order(frames, table, search_id)
    if not table.is_comparison or not 2 <= len(names) <= MOST_COMPARED:
        return None
    try:
        return compare(frames, [f"{search_id}:{name}" for name in names])
    except InputError:  # such as groups of different protocols: the table's notes say so
        return None


def claims_of(found: Comparison) -> list[str]:
    """What may be claimed of each variant against the first: a sentence each, those that are not resolved in one."""
    is_open = [pair.verdict is not None and pair.verdict.word == NOT_RESOLVED for pair in found.pairs]
    if sum(is_open) < NAMED:
        return [pair.claim for pair in found.pairs]
    first = found.pairs[0].a.label
    names = "; ".join(f"“{pair.b.label}”" for pair, still in zip(found.pairs, is_open, strict=True) if still)
    rest = (
        f"Not resolved against “{first}”, where neither a difference nor equivalence within {100 * found.margin:g} points "
        f"can be claimed: {names}."
    )
    return [*(pair.claim for pair, still in zip(found.pairs, is_open, strict=True) if not still), rest]


def _of_first(ranked: pd.DataFrame, found: Comparison | None) -> list[str]:
    """How the variant that was named first stands to the others, where it is not itself the best: often the question."""
    if found is None or not 1 < len(found.pairs) <= MOST_NAMED or not found.spread.freedom:
        return []
    first = found.pairs[0].a
    if str(ranked.iloc[0]["variant"]) == first.variant:
        return []
    words = []
    for pair in found.pairs:
        if pair.verdict is None:
            return []
        each = pair.verdict.difference
        low, high = 100 * each.low, 100 * each.high
        if pair.verdict.word == DIFFERENT:
            way, by = ("above", each.value) if each.value > 0 else ("below", -each.value)
            least, most = sorted((abs(low), abs(high)))
            words.append(f"{100 * by:.2f} points {way} “{pair.b.label}” ({least:.2f} to {most:.2f})")
        elif pair.verdict.word == EQUIVALENT:
            words.append(f"equivalent to “{pair.b.label}” within {100 * found.margin:g} points")
        else:
            words.append(f"not resolved against “{pair.b.label}” ({low:+.2f} to {high:+.2f})")
    listed = f"{'; '.join(words[:-1])}; and {words[-1]}"
    return [f"The first that was named, “{first.label}”, is {listed} (95 % intervals; verdicts by Holm's correction)."]


def confirmations(frames: Frames, search_id: str) -> list[str]:
    """The searches that confirm this one, oldest first."""
    return [
        str(name)
        for name, settings in zip(frames.searches["id"], frames.searches["settings"], strict=True)
        if ((settings or {}).get("confirms") or {}).get("search") == search_id
    ]


def _in_order(frames: Frames, table: Table, search_id: str) -> list[str]:
    """Hashes of the variants in the order of their first trials, that of the grid; a confirmation's baseline first."""
    if not len(table.rows):
        return []
    known = set(table.rows["variant"])
    trials = frames.trials_of(search_id).sort_values("number")
    names = [str(name) for name in dict.fromkeys(trials["variant"]) if name in known]
    baseline = ((frames.search(search_id)["settings"].get("confirms") or {}).get("baseline") or {}).get("variant")
    given = dict(zip(table.rows["given"], table.rows["variant"], strict=True))
    first = given.get(baseline)
    return sorted(names, key=lambda name: name != first)


def _notes_of(frames: Frames, confirmation: str) -> list[str]:
    return _winner(variants(frames, confirmation, everything=True))


def _winner(table: Table) -> list[str]:
    """Of a confirmation what its table says of the search's winner and of the winner's curse."""
    firsts = ("The search's winner", "Winner's curse")
    return [note for first in firsts for note in table.notes if note.startswith(first)]


def _still(status: str, trials: pd.DataFrame) -> list[str]:
    """That a search is not at its end, where it is not."""
    if status == "ended":
        return []
    going = int(trials["status"].isin(["running", "pending", "paused", "interrupted"]).sum()) if len(trials) else 0
    return [f"The search is {status} ({going} of its {len(trials)} trials so far have not ended): numbers may change."]


def _imported(rows: pd.DataFrame, table: Table) -> list[str]:
    told = rows[rows["best_test_acc"].notna()].sort_values("best_test_acc", ascending=False)
    if not len(told):
        return [f"{counted(len(rows), 'imported variant')}, none with an accuracy."]
    best = told.iloc[0]
    value = _with(best["best_test_acc"], best["best_test_interval"])
    said = (
        f"Of {counted(len(rows), 'imported variant')} {_name(best, table)} has the highest accuracy, "
        f"{value} % ({_seeds(best)}). It is "
        "that of the best epoch, chosen on the test images, so it is a little high and ranks with nothing."
    )
    return [said]


def _searched(rows: pd.DataFrame, table: Table, ranked: pd.DataFrame) -> list[str]:
    best = ranked.iloc[0]
    said = (
        f"Searched, unconfirmed: the best single run is {_name(best, table)} ({best['trials'][0]}) with "
        f"{percent(best['val_acc'])} % validation accuracy at its last epoch; {len(rows)} {_tried(len(rows))}, "
        f"{len(ranked)} ran to the end."
    )
    if len(ranked) == 1:
        return [said]
    equals = int((ranked["val_acc"] == best["val_acc"]).sum())
    second = ranked.iloc[1]
    gap = 100 * (best["val_acc"] - second["val_acc"])
    doubt = "is not resolved: each ran once, and the best of many single runs looks better than it is."
    if equals > 1:
        return [said, f"{equals} variants have this accuracy, and which is best {doubt}"]
    return [said, f"Whether it beats the next, {_name(second, table)} ({gap:.2f} points below), {doubt}"]


def _compared(frames: Frames, table: Table, ranked: pd.DataFrame, search_id: str) -> list[str]:
    best = ranked.iloc[0]
    value = _with(best["val_acc"], best["interval"])
    said = [f"{_name(best, table)} has the highest mean validation accuracy, {value} % ({_seeds(best)})."]
    others = ranked.iloc[1:]
    if len(others):
        said.append(_against_others(frames, table, ranked, others, search_id))
    left = table.rows[(table.rows["group"] == best["group"]) & ~table.rows["complete"]]
    if len(left):
        words = "; ".join(f"{_name(row, table)}: {row['status']}" for row in left.head(NAMED).to_dict("records"))
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        said.append(f"{len(left)} {_variants(len(left))} no mean and no rank ({words}{more}).")
    return said


def _against_others(frames: Frames, table: Table, ranked: pd.DataFrame, others: pd.DataFrame, search_id: str) -> str:
    best = ranked.iloc[0]
    spread = _spread(frames, search_id, best)
    if not spread.freedom:
        return "Not resolved: one seed a variant shows no spread, so no difference between variants can be claimed."
    near = others[others["top"].fillna(False)]
    far = others[~others["top"].fillna(False)]
    tests = "t tests with the pooled deviation, Holm's correction over all pairs, 5 %"
    if not len(near):
        found = difference(best["values"], others.iloc[0]["values"], spread.deviation, spread.freedom)
        next_one, bounds = (
            _name(others.iloc[0], table),
            f"95 % interval {100 * found.low:.2f} to {100 * found.high:.2f}",
        )
        lower = f"{100 * found.value:.2f} points lower"
        if len(others) == 1:
            return f"It is told apart from {next_one}, which is {lower} ({bounds}, p = {found.p:.2g})."
        said = f"It is told apart from each of the {len(others)} others ({tests})"
        return f"{said}; the next, {next_one}, is {lower} ({bounds})."
    names = ", ".join(_name(row, table) for row in near.head(NAMED).to_dict("records"))
    more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
    rest = f"; it is told apart from the other {len(far)}" if len(far) else ""
    return f"Not resolved: whether it is better than {names}{more}{rest} ({tests})."


def _spread(frames: Frames, search_id: str, row: pd.Series) -> Spread:
    return spread_of(with_protocol(frames.trials_of(search_id)), row["protocol"])


def _standing(table: Table, ranked: pd.DataFrame) -> str:
    if int(ranked["seeds"].min()) < 2:
        return "one seed a variant: nothing is resolved"
    return "screening: few seeds" if table.is_screening else "comparison"


def _name(row: Mapping[Any, Any] | pd.Series, table: Table) -> str:
    return f"“{plain(keys_text(dict(row), table.telling))}”"


def _with(value: float, half: float) -> str:
    return percent(value) + (f" ± {percent(half)}" if half == half else "")


def _seeds(row: Mapping[Any, Any] | pd.Series) -> str:
    count = int(row["seeds"])
    return f"95 % t interval over {count} seeds" if count > 1 else "one run"


def _tried(count: int) -> str:
    return "variant was tried" if count == 1 else "variants were tried"


def _variants(count: int) -> str:
    return "variant has" if count == 1 else "variants have"
