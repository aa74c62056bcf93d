"""`python -m results.show [SEARCH]`: the ranked table of a search."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.frames import Frames, load
from results.table import COMPLETE, Table, variants
from results.text import amount, cell, percent, plain

EXAMPLES = """\
The ranked variants of a search: mean over seeds, spread, costs, status. The latest search where none is named.

Examples:

  python -m results.show

  python -m results.show baseline-1 --all

  python -m results.show quickstart-1 --csv table.csv

  python -m results.show quickstart-1 --json | jq '.variants[0]'

  python -m results.show --list
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[str | None, typer.Argument(help="A search's id, such as quickstart-1.")] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    csv: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write the table as Parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Show every stopped variant, too.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the searches.")] = False,
) -> None:
    frames = load(storage)
    console = Console()
    if list_all:
        _list(frames, console)
        return
    if search is None:
        if frames.searches.empty:
            raise InputError("There is no search yet; run one with: python -m search.run")
        search = str(frames.searches["id"].iloc[-1])
    table = variants(frames, search, everything=everything or as_json or csv is not None or parquet is not None)
    for path in (csv, parquet):
        if path is not None:
            _check_target(path)
    for path, write in ((csv, _write_csv), (parquet, _write_parquet)):
        if path is not None:
            write(table, path)
            if not as_json:
                console.print(f"Wrote {len(table.rows)} variants to {path}", highlight=False, markup=False)
    if as_json:
        typer.echo(json.dumps(as_plain(frames, search, table), default=str))
    elif csv is None and parquet is None:
        print_search(frames, search, console, everything=everything)


def print_search(frames: Frames, search_id: str, console: Console, *, everything: bool = False) -> None:
    """The question, the table, what all rows share, and what the numbers can show."""
    search = frames.search(search_id)
    table = variants(frames, search_id, everything=everything)
    trials = frames.trials_of(search_id)
    counts = Counter(trials["status"]) if len(trials) else Counter()
    states = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print()
    console.print(Text(f"{search_id}: {plain(search['question'])}", style="bold"))
    console.print(
        Text(f"{search['status']}, {search['created']:%Y-%m-%d %H:%M} UTC; {len(trials)} trials: {states or 'none'}"),
        soft_wrap=True,
    )
    if search["status"] == "interrupted":
        console.print(
            f"Go on with: python -m search.run --resume {search_id}", highlight=False, markup=False, soft_wrap=True
        )
    for name in ("notes", "tags"):
        if search[name]:
            value = ", ".join(search[name]) if name == "tags" else search[name]
            console.print(Text(f"{name}: {plain(value)}", style="italic"))
    if table.common:
        shared = ", ".join(f"{key}={_value(value)}" for key, value in table.common.items())
        console.print(Text(f"All rows: {plain(shared)}", style="dim"))
    if len(table.rows):
        console.print(_rich(table, console.width))
    if table.hidden:
        console.print(f"{table.hidden} more stopped variants are shown by --all.", highlight=False)
    for note in table.notes:
        console.print(Text(note))


def _rich(table: Table, width: int) -> RichTable:
    narrow = width < 95
    result = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if narrow else (0, 1), pad_edge=False)
    columns = ["rank", *([] if len(set(table.rows["group"])) < 2 else ["group"]), "variant keys", "seeds", "val %"]
    if "front" in table.rows:
        columns.insert(1, "front")
    if table.is_comparison:
        columns += ["sd", "test %"]
    seconds = "GPU s" if (table.rows["gpu_seconds"] > 0).any() else "wall s"
    columns += ["best %", "params", "neurons", "MACs", "epochs", seconds, "status"]
    for least, name in ((120, "MACs"), (115, "best %"), (105, seconds), (95, "neurons"), (90, "seeds"), (78, "epochs")):
        if width < least and (
            name != "seeds" or not table.is_comparison
        ):  # what one can do without, first things first
            columns.remove(name)
    for name in columns:
        justify: Any = "left" if name in ("variant keys", "status") else "right"
        wide = name in ("variant keys", "status")
        least_width = 10 if narrow and wide else None  # the longest words stay whole: diverged, interrupted
        result.add_column(
            name,
            justify=justify,
            overflow="fold",
            no_wrap=not wide,
            ratio=3 if name == "variant keys" else None,
            min_width=least_width,
        )
    for row in table.rows.to_dict("records"):
        cells = {
            "rank": "" if pd.isna(row["rank"]) else str(row["rank"]),
            "group": str(row["group"]),
            "front": "*" if row.get("front") else "",
            "variant keys": plain(keys_text(row, table.varying)),
            "seeds": f"{row['seeds']}/{row['planned']}",
            "val %": _value_text(row),
            "sd": percent(row["deviation"]),
            "test %": percent(row["test_acc"]),
            "best %": percent(row["best_val_acc"]),
            "params": amount(row["parameters"]),
            "neurons": amount(row["neurons_used"]),
            "MACs": amount(row["macs"]),
            "epochs": str(row["epochs_run"]),
            seconds: f"{row['gpu_seconds'] or row['wall_seconds']:,.0f}",
            "status": plain(row["status"]),
        }
        style = "bold" if cells["rank"] == "1" else "dim" if not row["complete"] else None
        result.add_row(*(Text(cells[name]) for name in columns), style=style)
    return result


def _value_text(row: Mapping[Any, Any]) -> str:
    """The ranked value; in parentheses where it is a trial's at an epoch before its end."""
    value = percent(row["val_acc"])
    return value if row["complete"] or not value else f"({value})"


def keys_text(row: Mapping[Any, Any], varying: list[str]) -> str:
    """The keys that make a variant, shortened: `fff depth=3 trees=4, lr=0.0021`."""
    words = []
    for key in varying:
        value = row.get(key)
        if key == "seed" or value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if key in ("ffn", "layout"):
            words.append(_value(value))
        else:
            words.append(f"{key.rpartition('.')[2]}={_value(value)}")
    return " ".join(words) or str(row["variant"])


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if not value.is_integer() or abs(value) >= 1e6 else str(int(value))
    return str(value)


def as_plain(frames: Frames, search_id: str, table: Table) -> dict[str, Any]:
    """The table as JSON values: accuracies as fractions, missing ones null."""
    search = frames.search(search_id)
    rows = []
    for row in table.rows.to_dict("records"):
        row.pop("protocol", None)
        rows.append({str(key): _json_value(value) for key, value in row.items()})
    return {
        "search": search_id,
        "experiment": search["experiment"],
        "question": search["question"],
        "status": search["status"],
        "common": {key: _json_value(value) for key, value in table.common.items()},
        "varying": table.varying,
        "variants": rows,
        "notes": table.notes,
    }


def _json_value(value: Any) -> Any:
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _flat(table: Table) -> pd.DataFrame:
    rows = table.rows.drop(columns=["protocol"], errors="ignore")
    return rows.assign(trials=[" ".join(names) for names in rows["trials"]]) if len(rows) else rows


def _check_target(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    if path.is_dir():
        raise InputError(f"The table must go to a file, but {path} is a folder; name a file in it.")


def _write_csv(table: Table, path: Path) -> None:
    _flat(table).map(cell).to_csv(path, index=False)


def _write_parquet(table: Table, path: Path) -> None:
    rows = _flat(table)
    # a key with values of several types (a number, or the word none) has no Parquet type but text
    mixed = {name: "string" for name in rows.columns if rows[name].map(type).nunique() > 1 and name != "rank"}
    rows.astype({**mixed, "rank": "Int64"}).to_parquet(path, index=False)


def _list(frames: Frames, console: Console) -> None:
    result = RichTable(box=box.SIMPLE_HEAD)
    for name in ("search", "created", "status", "trials", "best val %", "question"):
        result.add_column(name, justify="right" if name in ("trials", "best val %") else "left")
    for row in frames.searches.to_dict("records"):
        trials = frames.trials[frames.trials["search_id"] == row["id"]]
        best = trials.loc[trials["status"].isin(COMPLETE), "val_acc"].max() if len(trials) else math.nan
        cells = (row["id"], f"{row['created']:%Y-%m-%d %H:%M}", row["status"], len(trials), percent(best))
        result.add_row(*(Text(plain(value)) for value in (*cells, row["question"])))
    console.print(result)


if __name__ == "__main__":
    run(app, "python -m results.show")
