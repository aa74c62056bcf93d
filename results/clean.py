"""`python -m results.clean`: what run folders take by search, what may go, and archived searches."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from results.archive import archive, is_archived, restore
from results.cli import DEFAULT_STORAGE, run
from results.disk import SORTS, Plan, Rule, Usage, plan, remove, usage
from results.errors import InputError
from results.ids import runs_folder
from results.rows import SearchRow
from results.store import Store
from results.text import counted, plain

EXAMPLES = """\
What the checkpoints and logs of each search take on disk, and their removal by a rule. Nothing goes before you say yes. The
store keeps every result; a removed trial can be trained again (`trainer.replay`), but not evaluated.

A running search keeps its files. So does a trial that can be resumed, unless its search is archived. Predictions for single
images stay (some 15 kB a trial; `results.compare` reads them) unless `--predictions` is given.

Examples:

  python -m results.clean

  python -m results.clean --keep-best 3

  python -m results.clean --search baseline-1 --keep-best 3 --yes

  python -m results.clean --archive quickstart-1 --archive quickstart-2

  python -m results.clean --archived --predictions
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=EXAMPLES)
def main(
    search: Annotated[list[str] | None, typer.Option(help="Remove files of this search; repeatable.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Remove files of archived searches.")] = False,
    keep_best: Annotated[
        int | None, typer.Option(help="So many best finished trials of each search keep theirs.")
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Remove predictions for single images, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    to_archive: Annotated[
        list[str] | None, typer.Option("--archive", help="Hide this search from lists and tables; repeatable.")
    ] = None,
    to_restore: Annotated[
        list[str] | None, typer.Option("--restore", help="Bring an archived search back; repeatable.")
    ] = None,
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is taken as JSON alone; removes nothing.")
    ] = False,
) -> None:
    removes = bool(search) or archived or keep_best is not None
    if keep_best is not None and keep_best < 0:
        raise InputError(f'"--keep-best" must be at least 0, but got {keep_best}.')
    if predictions and not removes:
        raise InputError('"--predictions" must have a rule beside it: --search, --archived or --keep-best.')
    if as_json and (removes or to_archive or to_restore):
        raise InputError('"--json" must stand without what changes something; give it alone.')
    console = Console(highlight=False)
    with Store.open(storage, create=False) as store:
        for name in (*(search or []), *(to_archive or []), *(to_restore or [])):
            store.search(name)  # refused before anything is changed
        for name in to_archive or []:
            said = "is archived" if archive(store, name) else "was archived already"
            _say(console, f"{name} {said}; --restore {name} brings it back.")
        for name in to_restore or []:
            _say(console, f"{name} is back." if restore(store, name) else f"{name} was not archived.")
        if (to_archive or to_restore) and not removes:
            return
        if not removes:
            _print_usage(store, console, as_json=as_json)
            return
        rule = Rule(searches=frozenset(search or []), archived=archived, keep_best=keep_best, predictions=predictions)
        planned = plan(store, rule)
        _print_plan(planned, rule, console)
        if planned.trials and (yes or _confirmed(console)):
            gone = remove(store, planned, rule)
            _say(console, f"Removed {in_bytes(gone.total)} of {counted(gone.folders, 'trial')}.")


def _confirmed(console: Console) -> bool:
    if not sys.stdin.isatty():
        _say(console, "Nothing was removed: there is nobody to ask. Give --yes to remove it.")
        return False
    answer = typer.confirm("Remove them?", default=False)
    if not answer:
        _say(console, "Nothing was removed.")
    return answer


def _print_plan(planned: Plan, rule: Rule, console: Console) -> None:
    by_search: dict[str, Usage] = {}
    for row, used in planned.trials:
        by_search[row.search_id] = by_search.get(row.search_id, Usage()) + used
    what = " and ".join(", ".join(rule.sorts).rsplit(", ", 1))
    for name, used in by_search.items():
        _say(console, f"{name}: {what} of {counted(used.folders, 'trial')}, {in_bytes(used.of(rule.sorts))}")
    for name in planned.running:
        _say(
            console,
            f"{name} is running and keeps its files. (If its driver was killed: go on with python -m search.run --resume "
            f"{name}.)",
        )
    if planned.unfinished:
        _say(
            console,
            f"{counted(planned.unfinished, 'trial')} not ended: what going on needs stays, and goes once the search is "
            "archived (--archive).",
        )
    if not by_search:
        _say(console, "There is nothing to remove by this rule.")


def _print_usage(store: Store, console: Console, *, as_json: bool) -> None:
    taken = [(row, *_usage_of(store, row)) for row in store.searches()]
    taken.sort(key=lambda entry: -entry[2].total)
    total = sum((used for *_, used in taken), Usage())
    runs = runs_folder(store.url)
    free = shutil.disk_usage(runs).free if runs.is_dir() else None
    if as_json:
        searches = [
            {
                "search": row.id,
                "status": row.status,
                "archived": is_archived(row.tags),
                "trials": trials,
                "folders": used.folders,
                **used.sizes,
                "total": used.total,
            }
            for row, trials, used in taken
        ]
        typer.echo(json.dumps({"searches": searches, "total": total.total, "free": free}))
        return
    table = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("search", "status", "trials", *SORTS, "total"):
        text = name in ("search", "status")
        table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row, trials, used in taken:
        status = f"{row.status}, archived" if is_archived(row.tags) else row.status
        sizes = (in_bytes(used.sizes[sort]) for sort in SORTS)
        texts = (plain(row.id), plain(status), str(trials), *sizes, in_bytes(used.total))
        table.add_row(*(Text(text) for text in texts))
    console.print(table)
    left = "" if free is None else f"; {in_bytes(free)} are free"
    _say(console, f"{in_bytes(total.total)} in all{left}. Remove by rule: --keep-best N, --search SEARCH, --archived.")


def _usage_of(store: Store, search: SearchRow) -> tuple[int, Usage]:
    """How many trials a search has, and what their folders take."""
    rows = store.trials(search.id)
    return len(rows), sum((usage(row) for row in rows), Usage())


def in_bytes(size: int) -> str:
    """A size in the largest decimal unit that leaves at least one before the point, as disks are sold."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:.3g} TB"


def _say(console: Console, sentence: str) -> None:
    console.print(Text(plain(sentence)), soft_wrap=True)


if __name__ == "__main__":
    run(app, "python -m results.clean")
