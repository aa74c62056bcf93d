"""From the frames of a store to the report of one search, as the text of one HTML file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from results.cells import TEXT, cells, columns, shared_keys, trial_of
from results.comparison import Comparison
from results.frames import Frames
from results.page import MARK, charts, charts_of_keys
from results.page.answer import against_first, answer, claims_of, confirmations
from results.page.origin import command, diff_of, failures, malformed, origin, settings_of
from results.page.vega import Picture, family_of, libraries
from results.period import period
from results.ranks import ALIKE, is_alike
from results.table import Table, variants
from results.text import missing, percent
from results.tuned import is_tuning

FOLDER = Path(__file__).parent
HELP = {
    "rank": f"No test tells the rows of a span, or marked {ALIKE}, apart from the best.",
    "trial": "Number of the first trial in its search, and how many seeds more.",
    "front": "Not beaten in accuracy or in cost without losing in the other.",
    "seeds": "Seeds that ran to their end, of those planned.",
    "searched %": "The one run of the search that picked the variant.",
    "val %": "Validation accuracy at the last epoch: the ranked value. Half widths are of 95 % t intervals over seeds. "
    "In parentheses: at the epoch that was reached, so it is sorted below those that ran to the end.",
    "test %": "Of the selected checkpoint, measured once.",
    "best %": "Validation accuracy at the best epoch.",
    "test-best %": "Of the best epoch, chosen on the test images.",
    "params": "Trainable parameters.",
    "neurons": "Neurons of a block that one input uses.",
    "MACs": "Multiply-adds of an image, forward.",
    "GPU s": "All seeds together.",
    "wall s": "All seeds together.",
}
NUMBERS = {
    "rank": "rank", "group": "group", "seeds": "seeds", "searched %": "searched_val_acc", "val %": "val_acc",
    "test %": "test_acc", "best %": "best_val_acc", "test-best %": "best_test_acc", "params": "parameters",
    "neurons": "neurons_used", "MACs": "macs", "epochs": "epochs_run", "GPU s": "gpu_seconds", "wall s": "wall_seconds",
}  # fmt: skip
"""The column of the table by which a column of the page is sorted; others are sorted as text."""
AT_THE_END = frozenset({"val %", "best %"})
"""Of a trial that was stopped these are accuracies of other epochs: sorted by them, it comes last, as if it had none."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def report(frames: Frames, search_id: str, storage: str) -> str:
    """The page. `storage` is what its commands name.

    Raises:
        InputError: an unknown search.
    """
    search = frames.search(search_id)
    table = variants(frames, search_id, everything=True)
    found = against_first(frames, table, search_id)
    pictures = _pictures(frames, table, search_id, found)
    trials = _trials(frames, table, search_id, storage)
    best = _best(table)
    told = answer(frames, table, search_id, found)
    of_kinds = {key: value for key, value in table.common.items() if key.startswith("ffn.")}
    of_all = {key: value for key, value in table.common.items() if key not in of_kinds}
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_without_controls,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        mark=MARK,
        search=search,
        search_id=search_id,
        made=datetime.now(UTC),
        span=period(search, frames.trials_of(search_id)),
        answer=told,
        common=shared_keys(of_all, {**of_kinds, **table.by_kind}),
        table=_rows(frames, table),
        notes=[note for note in (*table.protocols, *table.notes) if note not in told.sentences],
        claims=[] if found is None else claims_of(found),
        pictures=pictures,
        specs={picture.name: picture.spec for picture in pictures},
        confirms=search["settings"].get("confirms"),
        confirmations=confirmations(frames, search_id),
        failures=failures(frames, search_id),
        malformed=malformed(frames, search_id),
        origin=origin(frames, search_id),
        settings=settings_of(frames, search_id),
        diff=diff_of(frames, search_id),
        trials=trials,
        is_comparison=table.is_comparison,
        example=None if best is None else {name: command(module, best, storage) for name, module in (
            ("Train it again and compare the curves", "trainer.replay"),
            ("Evaluate its checkpoint", "trainer.evaluate"),
            ("Take it along as one file", "results.bundle"),
        )},
        next=[command("results.show", search_id, storage)] + (
            [] if table.is_comparison or best is None else
            [command("search.run --confirm", search_id, storage), command("search.importance", search_id, storage)]
        ),
        libraries=Markup(libraries()) if pictures else "",
        css=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "report.js").read_text(encoding="utf-8")),
    )  # fmt: skip


def _without_controls(value: Any) -> Any:
    """Text of the store without control characters but line ends; what is markup already stays."""
    return _CONTROL.sub("", value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _pictures(frames: Frames, table: Table, search_id: str, found: Comparison | None) -> list[Picture]:
    drawn = [
        charts_of_keys.searched_and_confirmed(table),
        None if found is None else charts_of_keys.differences(found),
        charts.curves(frames, table, search_id),
        *charts.costs(frames, table, search_id),
        charts_of_keys.parallel(frames, table, search_id) if not table.is_comparison else None,
        charts_of_keys.level_rates(frames, table, search_id),
        charts.rungs(frames, table, search_id),
        charts_of_keys.leaf_use(frames, table, search_id),
        charts.best_so_far(frames, table, search_id) if not table.is_comparison else None,
        charts.timeline(frames, table, search_id),
    ]
    return [picture for picture in drawn if picture is not None]


def _best(table: Table) -> str | None:
    """The trial that the page takes as its example: the first row's first one."""
    return str(table.rows["trials"].iloc[0][0]) if len(table.rows) and not table.rows["imported"].iloc[0] else None


def _rows(frames: Frames, table: Table) -> dict[str, Any]:
    """The table as `results.show` prints it, with what its columns are sorted by."""
    if not len(table.rows):
        return {"columns": [], "rows": [], "kinds": [], "statuses": []}
    names = columns(table)
    names.insert(1, "trial")  # by which the lower tables and other commands know it
    kinds = family_of(frames.trials_of(*table.searches))
    rows = []
    for row in table.rows.to_dict("records"):
        shown = {**cells(row, table), "trial": trial_of(row)}
        rows.append(
            {
                "kind": kinds[row["trials"][0]],
                "status": shown["status"],
                "is_first": is_alike(row),
                "is_complete": bool(row["complete"]),
                "trials": ", ".join(row["trials"]),
                "cells": [{"text": shown[name], "value": _value(row, name)} for name in names],
            }
        )
    return {
        "columns": [{"name": name, "is_text": name in TEXT, "help": HELP.get(name, "")} for name in names],
        "rows": rows,
        "kinds": sorted({row["kind"] for row in rows}),
        "statuses": sorted({row["status"] for row in rows}),
    }


def _value(row: Mapping[Any, Any], name: str) -> str | None:
    """What a cell is sorted by; none for text, empty where it is missing."""
    if name not in NUMBERS:
        return None
    if name in AT_THE_END and not row["complete"]:
        return ""
    value = row.get(NUMBERS[name], math.nan)
    if name == "GPU s" and not value > 0:
        value = row["wall_seconds"]
    if missing(value):
        return ""
    return repr(float(value))


def _trials(frames: Frames, table: Table, search_id: str, storage: str) -> list[dict[str, Any]]:
    """Every trial with the commands that bring it back."""
    labels = charts.labels_of(table)
    own = frames.trials[frames.trials["search_id"] == search_id]
    own = own.sort_values("number")
    tuning = list(is_tuning(own)) if len(own) else []
    found = []
    for row, tunes in zip(own.to_dict("records"), tuning, strict=True):
        imported = bool((row["provenance"] or {}).get("imported"))
        found.append(
            {
                "id": row["id"],
                "keys": labels.get(row["id"], "") + (" (tuned a learning rate)" if tunes else ""),
                "seed": "" if missing(row["seed"]) else int(row["seed"]),
                "status": row["status"],
                "epochs": int(row["epochs_run"]),
                "val": percent(row["val_acc"]),
                "replay": "" if imported or not row["epochs_run"] else command("trainer.replay", row["id"], storage),
            }
        )
    return found
