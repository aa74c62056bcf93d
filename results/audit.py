"""`python -m results.audit SEARCH`: whether a search's history can have come about as it should."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from results.audited import audit
from results.cli import DEFAULT_STORAGE, run
from results.store import Store
from results.text import plain

HELP = """\
Prove from a search's tables that no epoch was lost or doubled and that every decision follows from the scheduler's rule.

Exit code 0 where nothing is wrong, 1 with each violation named, 2 for bad input.

Examples:

  python -m results.audit quickstart-1

  python -m results.audit quickstart-1 --json | jq '.checks[].violations'
"""
SHOWN = 20
"""Violations of one rule that are printed; --json has all."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=HELP)
def main(
    search: Annotated[str, typer.Argument(help="A search's id, such as quickstart-1.")],
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    with Store.open(storage, create=False, to_read=True) as store:
        checks = audit(store, search)
        status = store.search(search).status
    found = sum(len(check.violations) for check in checks)
    if as_json:
        typer.echo(json.dumps({"search": search, "valid": not found, "checks": [asdict(check) for check in checks]}))
        raise typer.Exit(1 if found else 0)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for check in checks:
        mark = f"{len(check.violations)} WRONG" if check.violations else "ok"
        console.print(f"{mark:>8}  {check.rule} ({check.rows} row{'s' if check.rows != 1 else ''})")
        for violation in check.violations[:SHOWN]:
            console.print(f"          - {plain(violation)}")
        if len(check.violations) > SHOWN:
            console.print(f"          and {len(check.violations) - SHOWN} more, all in --json")
    if status == "running":
        console.print(
            f"Note: {search} is running, or was killed; what is written during an audit may look wrong to it."
        )
    if found:
        console.print(f"Verdict: {search} is not a valid history: {found} violation{'s' if found > 1 else ''}.")
        raise typer.Exit(1)
    console.print(f"Verdict: {search} is a valid history.")


if __name__ == "__main__":
    run(app, "python -m results.audit")
