"""`python -m results.compare A B ...`: the difference of variants, and what may be claimed of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from results.cli import DEFAULT_STORAGE, run
from results.comparison import Compared, Comparison, compare
from results.errors import InputError
from results.export import json_value
from results.frames import load
from results.statistics import t_interval
from results.text import percent, plain

EXAMPLES = """\
The difference of variants: its 95 % interval, p, whether they are equivalent within a margin, and a sentence that says what
may be claimed. The first one named is compared with each other one; the spread is pooled over all variants of their
searches. Finished trials keep what they predicted for every image, so two of them are compared image by image, too.

A side is a trial (its variant with all its seeds), a variant by the beginning of its hash or by its keys as the table shows
them, or a search: two searches are compared in the variants that both have, or else in their best ones.

Examples:

  python -m results.compare baseline-1.1 baseline-1.3

  python -m results.compare "pair hidden=256" "single hidden=256" --search baseline-1 --margin 1

  python -m results.compare baseline-1:8f3a92 baseline-2:8f3a92

  python -m results.compare baseline-1 baseline-2 --json
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    names: Annotated[list[str], typer.Argument(help="Trials, variants or searches; at least two.")],
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    search: Annotated[
        str | None, typer.Option(help="Where variants are looked up (default: the latest search).")
    ] = None,
    margin: Annotated[float, typer.Option(help="Within so many points two variants count as equivalent.")] = 0.5,
    split: Annotated[str, typer.Option(help="The images that are looked at: val or test.")] = "val",
    mix: Annotated[bool, typer.Option("--mix", help="Let the sides differ in data, epochs, batch ...")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    if split not in ("val", "test"):
        raise InputError(f'"--split" must be val or test, but got {split!r}.')
    if not (0 < margin <= 100):
        raise InputError(f'"--margin" must be above 0 and at most 100 points, but got {margin:g}.')
    found = compare(
        load(storage), names, search=search, margin=margin / 100, split="val" if split == "val" else "test", mix=mix
    )
    if as_json:
        typer.echo(json.dumps(as_plain(found)))
    else:
        _print(found, Console())


def as_plain(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON values: accuracies and differences as fractions, what is not known null."""
    return {
        "metric": found.metric,
        "split": found.split,
        "margin": found.margin,
        "deviation": json_value(found.spread.deviation),
        "degrees_of_freedom": found.spread.freedom,
        "arms": [
            {
                "name": arm.name,
                "search": arm.search,
                "variant": arm.variant,
                "keys": arm.label,
                "trials": [str(name) for name in arm.trials["id"]],
                "seeds": len(arm.values(found.metric)),
                "shared": arm.shared,
                "mean": json_value(found.mean(arm)),
                "interval": json_value(t_interval(arm.values(found.metric))),
            }
            for arm in found.arms
        ],
        "comparisons": [_pair_as_plain(pair) for pair in found.pairs],
        "notes": found.notes,
    }


def _pair_as_plain(pair: Compared) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(("difference", "low", "high", "p", "p_holm", "p_equivalence", "verdict"))
    if pair.verdict:
        each = pair.verdict.difference
        values.update(difference=each.value, low=each.low, high=each.high, p=each.p, verdict=pair.verdict.word)
        values.update(p_holm=pair.verdict.p_holm, p_equivalence=pair.verdict.p_equivalence)
    return {
        "a": pair.a.name,
        "b": pair.b.name,
        **{key: json_value(value) for key, value in values.items()},
        "claim": pair.claim,
        "images": [asdict(each) for each in pair.images],
    }


def _print(found: Comparison, console: Console) -> None:
    console.print(_sides(found))
    console.print(_differences(found))
    for each in (each for pair in found.pairs for each in pair.images):
        right = (
            "" if each.p is None else f"; right in one alone: {each.only_a} and {each.only_b}, McNemar p = {each.p:.2g}"
        )
        console.print(
            Text(
                f"{each.a} and {each.b} predict the same for {100 * each.agreement:.1f} % of {each.images:,} images{right}."
            )
        )
    for pair in found.pairs:
        console.print(Text(plain(pair.claim), style="bold"))
    for note in found.notes:
        console.print(Text(plain(note)))


def _letters(found: Comparison) -> dict[str, str]:
    """A short name for each side, by its own: A, B, ... or A1, B1, A2, B2, ... where every pair has sides of its own."""
    arms = found.arms
    if len(arms) == 2 * len(found.pairs) > 2:
        return {
            arm.name: f"{side}{number}"
            for number, pair in enumerate(found.pairs, start=1)
            for side, arm in (("A", pair.a), ("B", pair.b))
        }
    return {arm.name: chr(ord("A") + place) if place < 26 else str(place + 1) for place, arm in enumerate(arms)}


def _sides(found: Comparison) -> RichTable:
    name = {"val_acc": "val %", "test_acc": "test %"}.get(found.metric, "test-best %")
    letters = _letters(found)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "named", "search", "variant keys", "seeds", name):
        table.add_column(column, justify="right" if column in ("seeds", name) else "left", overflow="fold")
    for arm in found.arms:
        values = arm.values(found.metric)
        half = t_interval(values)
        mean = percent(found.mean(arm))
        shown = mean if math.isnan(half) or not mean else f"{mean} ± {percent(half)}"
        cells = (
            letters[arm.name],
            arm.name,
            arm.search,
            arm.label,
            str(len(values)),
            shown or arm.unfinished or ("shared" if arm.shared else ""),
        )
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _differences(found: Comparison) -> RichTable:
    letters = _letters(found)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    several = len(found.pairs) > 1
    names = ["", "points", "95 % interval", "p", *(["p (Holm)"] if several else [])]
    names += [f"p (beyond ±{100 * found.margin:g})", "verdict"]
    for name in names:
        table.add_column(name, justify="left" if name in ("", "verdict") else "right", overflow="fold")
    for pair in found.pairs:
        cells = [f"{letters[pair.a.name]} - {letters[pair.b.name]}"]
        if pair.verdict is None:
            cells += [""] * (len(names) - 2) + ["no claim"]
        else:
            each = pair.verdict.difference
            interval = f"{100 * each.low:+.2f} to {100 * each.high:+.2f}" if each.freedom else ""
            shown = [each.p, *([pair.verdict.p_holm] if several else []), pair.verdict.p_equivalence]
            cells += [f"{100 * each.value:+.2f}", interval, *(_p(value) for value in shown), pair.verdict.word]
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _p(value: float) -> str:
    return "" if pd.isna(value) else "< 0.0001" if value < 0.0001 else f"{value:.2g}"


if __name__ == "__main__":
    run(app, "python -m results.compare")
