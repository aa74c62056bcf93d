"""`python -m search.simulate SEARCH`: what another scheduler would have saved and missed, on curves that one has."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError

if TYPE_CHECKING:  # torch is not needed for --help
    from search.whatif import Outcome, RankCorrelation, Setting

HELP = """\
Simulate a search's scheduler with other settings on the curves of a search whose trials ran to their end, in virtual time.
Without a setting given, the search's own rule is compared with the default.

Examples:

  python -m search.simulate baseline-1 --reduction 2,3,4 --grace 1,2,5

  python -m search.simulate baseline-1 --scheduler hyperband --concurrency 4 --orders 50

  python -m search.simulate baseline-1 --json | jq '.outcomes[] | select(.regret < 0.001)'
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=HELP)
def main(
    search: Annotated[str, typer.Argument(help="A search's id, such as baseline-1.")],
    scheduler: Annotated[
        str | None, typer.Option(help="asha, hyperband, median or none. Default: asha.", show_default=False)
    ] = None,
    reduction: Annotated[str | None, typer.Option(help="One or several, such as 2,3,4. Default: 3.")] = None,
    grace: Annotated[str | None, typer.Option(help="One or several, such as 1,2,5. Default: 1.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at once; as the search had, if not given.")] = None,
    orders: Annotated[
        int, typer.Option(help="Orders in which the trials start: the recorded one, then by chance.")
    ] = 5,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    from results.store import Store
    from results.tuned import passed_over
    from search.experiment import one_of
    from search.schedulers import SCHEDULERS, build_scheduler
    from search.whatif import Setting, outcome, own_setting, rank_correlations, recording
    from trainer.resolve import discover_variants

    defaults = scheduler is None and reduction is None and grace is None
    scheduler, reduction, grace = scheduler or "asha", reduction or "3", grace or "1"
    if scheduler not in SCHEDULERS:
        raise InputError(one_of("scheduler", scheduler, SCHEDULERS))
    for name, value in (("--orders", orders), ("--concurrency", 1 if concurrency is None else concurrency)):
        if value < 1:
            raise InputError(f'"{name}" must be at least 1, but got {value}.')
    graces = parse_numbers("--grace", grace, least=1) if scheduler != "none" else (1,)
    reductions = parse_numbers("--reduction", reduction, least=2) if scheduler in ("asha", "hyperband") else (2,)
    with Store.open(storage, create=False, to_read=True) as store:
        recorded = recording(store, search)
    discover_variants(recorded.settings["variants"])
    if max(graces) > recorded.horizon:
        raise InputError(f'"--grace" must be at most the {recorded.horizon} epochs of {search}, but got {max(graces)}.')
    slots = concurrency or int(recorded.settings["concurrency"])
    settings = [Setting(scheduler=scheduler, grace=g, reduction=r) for r in reductions for g in graces]
    own = own_setting(recorded)
    if defaults and own is not None and own not in settings:
        settings.insert(0, own)
    console = Console(highlight=False, soft_wrap=True, stderr=as_json)
    outcomes = []
    with console.status("Simulating ...") as status:
        for setting in settings:
            status.update(f"Simulating {_named(setting)} ...")
            outcomes.append(outcome(recorded, setting, slots, orders))
    schedulers = [build_scheduler(each.scheduler, each.grace, each.reduction, recorded.horizon) for each in settings]
    rungs = sorted({rung for each in schedulers for rung in each.rungs})
    ranks = rank_correlations(recorded, rungs or graces)
    if as_json:
        plain = {"search": search, "trials": len(recorded.trials), "left_out": recorded.left_out,
                 "tuning": recorded.tuning, "concurrency": slots,
                 "orders": orders, "own": asdict(own) if own is not None else None,
                 "outcomes": [asdict(each) for each in outcomes],
                 "rank_correlations": [asdict(each) for each in ranks]}  # fmt: skip
        typer.echo(json.dumps(plain))
        return
    title = f"{search}: {len(recorded.trials)} trials, {slots} at once, {orders} orders"
    _show(console, title, outcomes, own, "GPU-hours" if recorded.gpus else "slot-hours", ranks)
    if recorded.tuning:
        console.print(f"Note: {passed_over(recorded.tuning)}.", style="yellow")
    if recorded.left_out:
        console.print(
            f"Note: {recorded.left_out} trials without a complete curve are left out; those that a scheduler had stopped "
            "were the weak ones, so what is left is no fair sample. Curves of a search with --scheduler none are.",
            style="yellow",
        )


def _show(
    console: Console,
    title: str,
    outcomes: Sequence[Outcome],
    own: Setting | None,
    hours: str,
    ranks: Sequence[RankCorrelation],
) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for name in ("setting", "stopped", "epochs", hours, "saved", "regret", "worst", "best kept"):
        table.add_column(name, justify="left" if name == "setting" else "right", overflow="fold")
    for each in outcomes:
        total = each.hours + each.hours_saved
        table.add_row(
            _named(each.setting) + (" (its own)" if each.setting == own else ""),
            f"{each.stopped:.1f}",
            f"{each.epochs:.0f}",
            f"{each.hours:.3g}",
            f"{each.hours_saved:.3g} ({each.hours_saved / total if total else 0:.0%})",
            f"{100 * each.regret:.2f}",
            f"{100 * each.worst_regret:.2f}",
            f"{each.best_kept:.0%}",
        )
    console.print(table)
    table = Table("epoch", "race", "trials", "rank correlation with the end", box=None, padding=(0, 2, 0, 0))
    for rank in ranks:
        said = "none" if rank.correlation is None else f"{rank.correlation:.2f}"
        table.add_row(str(rank.epoch), rank.race, str(rank.trials), said)
    if ranks:  # none where every race has too few curves
        console.print(table)
    console.print(
        "Regret: points of validation accuracy by which the best trial left is worse than the best of all, mean and worst "
        "over the orders. The trials are the recorded ones whatever is stopped: what a sampler would learn is not in it."
    )


def _named(setting: Setting) -> str:
    words = [setting.scheduler]
    if setting.scheduler in ("asha", "hyperband"):
        words.append(f"reduction={setting.reduction}")
    if setting.scheduler != "none":
        words.append(f"grace={setting.grace}")
    return " ".join(words)


def parse_numbers(option: str, text: str, *, least: int) -> Sequence[int]:
    """`"2,3,4"` is 2, 3 and 4.

    Raises:
        InputError: not numbers, below the least, or one twice.
    """
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise InputError(f'"{option}" must be a number or a list such as 2,3,4, but got {text!r}.')
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < least or len(set(numbers)) < len(numbers) or len(numbers) > 100:
        raise InputError(f'"{option}" must give different numbers of at least {least}, but got {text!r}.')
    return numbers


if __name__ == "__main__":
    run(app, "python -m search.simulate")
