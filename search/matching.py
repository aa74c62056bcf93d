"""A comparison's matches: the grid with solved widths, who was left out, and how both are shown and stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arch_space.registry import FFN
from results.errors import InputError
from results.ids import variant_hash
from results.matches import QUANTITIES, left_out, matched, variant_words
from search.experiment import Experiment, compose
from search.match import Match, fit, size_of
from trainer.config import Flat, FlatValue, TrialConfig
from trainer.dataset import Header
from trainer.resolve import resolve


@dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """One entry of the grid under one match."""

    asked: Flat
    """The entry as the experiment has it."""
    widths: Flat
    """Full keys of the widths that were solved; of the nearest miss where it is left out."""
    size: int | None
    """None where the kind does not define the measure."""
    deviation: float | None
    met: bool
    why: str
    """Why it is left out, where its size is not the reason."""
    variant: str
    """The hash that names the variant in the store; empty where it is left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Matching:
    """One match of a comparison, solved for each entry of its grid."""

    match: Match
    target: float
    """The match's target as a number."""
    reference: Flat | None
    """The variant that has this size, where the target was given so."""
    variants: tuple[Matched, ...]

    def to_plain(self) -> dict[str, Any]:
        """JSON values for the settings of a search, which `results.matches` reads."""
        return {
            "measure": self.match.measure,
            "target": self.target,
            "reference": self.reference,
            "tolerance": self.match.tolerance,
            "variants": [
                {
                    "asked": dict(each.asked),
                    "widths": dict(each.widths),
                    "size": each.size,
                    "deviation": each.deviation,
                    "met": each.met,
                    "why": each.why,
                    "variant": each.variant,
                }
                for each in self.variants
            ],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Matching:
        """What `to_plain` gave; the target stays the number that it was, whatever its reference would give now."""
        return cls(
            match=Match(measure=plain["measure"], target=plain["target"], tolerance=plain["tolerance"]),
            target=plain["target"],
            reference=plain["reference"],
            variants=tuple(Matched(**each) for each in plain["variants"]),
        )


def solve(
    experiment: Experiment, header: Header, *, on_gpu: bool, known: Sequence[Matching] = ()
) -> tuple[Experiment, tuple[Matching, ...]]:
    """The experiment with the widths of its grid solved, and what was solved. Without a match both come back as they are.

    Args:
        known: of a search that goes on. Its variants and targets stay; only entries that are new in the grid are solved.
    Raises:
        InputError: a match that no variant can meet; a variant or a reference that is no trial.
    """
    if experiment.grid is None or not (experiment.matches or known):
        return experiment, ()
    grid: dict[str, Flat] = {}

    def named(entry: Mapping[str, FlatValue]) -> str:
        return variant_hash(_trial(experiment, entry, header, on_gpu=on_gpu).to_flat())

    before = [entry for entry in experiment.grid if known and _is_solved(entry, known)]
    grid.update({named(entry): dict(entry) for entry in before})
    matchings = []
    for matching in known or [_unsolved(experiment, match, header) for match in experiment.matches]:
        variants = list(matching.variants)
        for entry in experiment.grid:
            if entry in before:
                continue
            one = _solved(experiment, entry, matching, header)
            if one.met:
                solved: Flat = {**one.asked, **one.widths}
                try:
                    one = replace(one, variant=named(solved))
                    grid.setdefault(one.variant, solved)  # what meets two matches is trained once
                except InputError as error:
                    one = replace(one, met=False, why=str(error))
            variants.append(one)
        matchings.append(replace(matching, variants=tuple(variants)))
        if not any(one.met for one in variants):
            raise InputError(_no_solution(experiment, matchings[-1]))
    return replace(experiment, grid=list(grid.values())), tuple(matchings)


def _is_solved(entry: Flat, known: Sequence[Matching]) -> bool:
    return any(entry == {**each.asked, **each.widths} for one in known for each in one.variants if each.met)


def _unsolved(experiment: Experiment, match: Match, header: Header) -> Matching:
    if not isinstance(match.target, Mapping):
        return Matching(match=match, target=match.target, reference=None, variants=())
    target = size_of(_trial(experiment, match.target, header).model, match.measure)
    if not target:
        raise InputError(
            f"The reference of a match must have {QUANTITIES[match.measure]}, but {variant_words(match.target)} has "
            f"{'none' if target is None else target}; give the target as a number."
        )
    return Matching(match=replace(match, target=target), target=target, reference=dict(match.target), variants=())


def _solved(experiment: Experiment, entry: Flat, matching: Matching, header: Header) -> Matched:
    """An entry with its free widths solved. Widths that the entry, the base or `--set` give are not free."""
    model = _trial(experiment, entry, header).model
    kind = FFN.kind_of(model.ffn)
    given = {**experiment.base, **experiment.fixed, **entry}
    free = [width for width in model.ffn.widths if f"ffn.{kind}.{width}" not in given]
    found = fit(model, free, matching.match.measure, matching.target, matching.match.tolerance)
    if found is None:
        why = f"its kind has no {matching.match.measure}"
        return Matched(asked=dict(entry), widths={}, size=None, deviation=None, met=False, why=why, variant="")
    return Matched(
        asked=dict(entry),
        widths={f"ffn.{kind}.{width}": value for width, value in found.widths.items()},
        size=found.size,
        deviation=found.deviation,
        met=abs(found.deviation) <= matching.match.tolerance,
        why="",
        variant="",
    )


def _trial(
    experiment: Experiment, entry: Mapping[str, FlatValue], header: Header, *, on_gpu: bool = False
) -> TrialConfig:
    base = {**experiment.base, **experiment.fixed}
    return resolve(compose(base, entry, experiment.seeds[0]), on_gpu=on_gpu, header=header)


def _no_solution(experiment: Experiment, matching: Matching) -> str:
    plain = matching.to_plain()
    nearest = min(plain["variants"], key=lambda each: math.inf if each["deviation"] is None else abs(each["deviation"]))
    return f"No variant of {experiment.name!r} can be {matched(plain)}; the nearest is {left_out(nearest)}."


def show(matchings: Sequence[Matching], console: Console) -> None:
    """For each match the variants that meet it, with their solved widths, and those that were left out."""
    for matching in matchings:
        plain = matching.to_plain()
        reference = plain["reference"]
        console.print(
            matched(plain) + (f", as {variant_words(reference)}" if reference else ""), highlight=False, soft_wrap=True
        )
        table = Table(box=None, padding=(0, 2, 0, 2))
        table.add_column("variant")
        table.add_column("solved")
        table.add_column(matching.match.measure, justify="right")
        table.add_column("deviation", justify="right")
        for each in plain["variants"]:
            if each["met"]:
                widths = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in each["widths"].items())
                table.add_row(
                    Text(variant_words(each["asked"])),
                    widths or "as given",
                    f"{each['size']:,}",
                    f"{100 * each['deviation']:+.2f} %",
                )
        console.print(table)
        for each in plain["variants"]:
            if not each["met"]:
                console.print(f"  left out: {left_out(each)}", highlight=False, markup=False, soft_wrap=True)
