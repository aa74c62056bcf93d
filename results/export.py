"""A table as JSON values, CSV, Parquet, LaTeX and Markdown."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from results.cells import TEXT, cells, columns
from results.errors import InputError
from results.frames import Frames
from results.ranks import is_alike
from results.table import Table
from results.targets import refuse_existing, writing
from results.text import cell, plain

INNER = ["protocol", "values"]
"""Columns of a table that only its own code reads."""
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
}  # fmt: skip


def as_plain(frames: Frames, table: Table) -> dict[str, Any]:
    """The table as JSON values: accuracies as fractions, missing ones null; of one search its own words, too."""
    rows = [
        {str(key): json_value(value) for key, value in row.items() if key not in INNER}
        for row in table.rows.to_dict("records")
    ]
    head: dict[str, Any] = {"searches": table.searches}
    if len(table.searches) == 1:
        search = frames.search(table.searches[0])
        head = {"search": table.searches[0], **{key: search[key] for key in ("experiment", "question", "status")}}
    return {
        **head,
        "screening": table.is_screening,
        "common": {key: json_value(value) for key, value in table.common.items()},
        "by_kind": {key: json_value(value) for key, value in table.by_kind.items()},
        "varying": table.varying,
        "protocols": table.protocols,
        "variants": rows,
        "notes": table.notes,
    }


def json_value(value: Any) -> Any:
    """A cell as JSON has it: what is missing or not finite is null."""
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


PRINTED = Path("-")
"""The file name that stands for stdout."""


def check_target(path: Path, *, force: bool) -> None:
    """Raises InputError where no file can be written at `path`, or one would be lost; `PRINTED` is fine for text."""
    if path == PRINTED:
        return
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; make it, or name another file.")
    if path.is_dir():
        raise InputError(f"The table must go to a file, but {path} is a folder; name a file in it.")
    refuse_existing(path, force=force)


def write_csv(table: Table, path: Path) -> None:
    """Every column and variant; text that a spreadsheet would take for a formula is marked as text."""
    _write(_flat(table).map(cell).rename(columns=cell).to_csv(index=False), path)


def write_parquet(table: Table, path: Path) -> None:
    """The same with types."""
    rows = _flat(table)
    # a key with values of several types (a number, or the word none) has no Parquet type but text
    objects = [name for name in rows.columns if rows[name].dtype == object]
    mixed = {name: "string" for name in objects if rows[name].map(type).nunique() > 1}
    with writing(path):
        rows.astype(mixed).to_parquet(path, index=False)


def _flat(table: Table) -> pd.DataFrame:
    rows = table.rows.drop(columns=INNER, errors="ignore")
    return rows.assign(trials=[" ".join(names) for names in rows["trials"]]) if len(rows) else rows


def write_latex(table: Table, path: Path) -> None:
    r"""A `tabular` for `\input`, with booktabs' rules; what its numbers can show stands above it as comments."""
    names = columns(table) if len(table.rows) else []
    lines = [f"% {line}" for line in _said(table)]
    lines += [
        r"% needs \usepackage{booktabs}",
        f"\\begin{{tabular}}{{{''.join('l' if n in TEXT else 'r' for n in names)}}}",
    ]
    lines += [r"\toprule", " & ".join(_latex(name) for name in names) + r" \\", r"\midrule"]
    group = None
    for row in table.rows.to_dict("records"):
        if group not in (None, row["group"]):
            lines.append(r"\midrule")
        group = row["group"]
        texts = cells(row, table)
        shown = [_latex(texts[name]).replace("1-", "1--") if name == "rank" else _latex(texts[name]) for name in names]
        if is_alike(row):
            shown[names.index("variant keys")] = rf"\textbf{{{shown[names.index('variant keys')]}}}"
        lines.append(" & ".join(shown) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    _write("\n".join(lines) + "\n", path)


def write_markdown(table: Table, path: Path) -> None:
    """A pipe table, and below it what its numbers can show."""
    lines = []
    if len(table.rows):
        names = columns(table)
        lines += [_piped(names), _piped([":---" if name in TEXT else "---:" for name in names])]
        for row in table.rows.to_dict("records"):
            texts = cells(row, table)
            lines.append(_piped([_markdown(texts[name]) for name in names]))
        lines.append("")
    lines += [f"- {_markdown(line)}" for line in _said(table)]
    _write("\n".join(lines) + "\n", path)


def _write(text: str, path: Path) -> None:
    if path == PRINTED:
        sys.stdout.write(text)
    else:
        with writing(path):
            path.write_text(text, encoding="utf-8")


def _said(table: Table) -> list[str]:
    return [plain(line) for line in (f"Searches: {', '.join(table.searches)}.", *table.protocols, *table.notes)]


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown(text: str) -> str:
    """Text that stays text: no cell ends early, and no tag or emphasis begins."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", text)


def _piped(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"
