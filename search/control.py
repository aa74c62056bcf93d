"""`python -m search.control SEARCH|TRIAL stop|pause|resume`: ask a running search for something, from any terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from results.cli import DEFAULT_STORAGE, run
from results.errors import InputError
from results.ids import unknown
from results.rows import SearchRow, TrialRow
from results.store import ENDED, Store

HELP = """\
Stop, pause or resume a trial or a whole search, from any process that reaches the storage.

The search acts within a second or so; a trial that trains ends its epoch first. A paused trial keeps its checkpoint and
frees its slot. A stopped one has ended, and counts for the sampler as one that the scheduler stopped. A search that is
paused or stopped ends; a pause keeps its trials for `search.run --resume`, a stop ends them.

Examples:

  python -m search.control quickstart-1.7 pause

  python -m search.control quickstart-1.7 resume

  python -m search.control quickstart-1 stop
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")


@app.command(help=HELP)
def main(
    name: Annotated[str, typer.Argument(metavar="SEARCH|TRIAL", help="An id such as quickstart-1 or quickstart-1.7.")],
    request: Annotated[str, typer.Argument(metavar="stop|pause|resume", help="What it shall do.")],
    storage: Annotated[str, typer.Option(help="Where the results are.")] = DEFAULT_STORAGE,
) -> None:
    with Store.open(storage, create=False) as store:
        typer.echo(ask(store, name, request))


def ask(store: Store, name: str, request: str) -> str:
    """Put a request into the store, for the driver to find; a sentence about what follows.

    Raises:
        InputError: an unknown id or request; one that is pointless, as for a trial that has ended.
    """
    from search.experiment import one_of
    from search.heartbeat import living_driver
    from search.requested import REQUESTS

    if request not in REQUESTS:
        raise InputError(one_of("request", request, REQUESTS))
    search, trial = _found(store, name)
    if "source" not in search.settings:
        raise InputError(f"{search.id} was not made by search.run, so nothing drives it that could {request}.")
    alive = living_driver(search) is not None
    on = f"python -m search.run --resume {search.id}"
    if trial is None:
        if request == "resume":
            raise InputError(
                f"{search.id} is running already; name one of its trials."
                if alive
                else f"{search.id} has no driver that could resume it; start one with: {on}"
            )
        if not alive:
            state = "running, but its driver is gone" if search.status == "running" else search.status
            way = ""
            if request == "stop" and search.status not in ("ended", "stopped"):
                way = f"; it can stay so, or to end its trials go on with: {on} and ask for the stop while that runs"
            raise InputError(f"{search.id} is {state}, so there is nothing to {request}{way}.")
        store.add_request(search.id, None, request)
        final = " Stopped trials do not go on; pause is for what shall." if request == "stop" else ""
        return f"{search.id} will {request} when its running trials have ended their epoch.{final}"
    _refuse_pointless(store, trial, request)
    store.add_request(search.id, trial.id, request)
    if not alive:
        return f"{search.id} has no driver; {trial.id} will {request} when it goes on with: {on}"
    after = " at the end of its epoch" if trial.status == "running" and request != "resume" else ""
    return f"{trial.id} will {request}{after}."


def _found(store: Store, name: str) -> tuple[SearchRow, TrialRow | None]:
    searches = {row.id: row for row in store.searches()}
    if name in searches:
        return searches[name], None
    owner = name.rpartition(".")[0]
    trials = {row.id: row for row in store.trials(owner)} if owner in searches else {}
    if name not in trials:
        raise InputError(unknown("trial" if owner in searches else "search or trial", name, [*searches, *trials]))
    return searches[owner], trials[name]


def _refuse_pointless(store: Store, trial: TrialRow, request: str) -> None:
    asked = [row.request for row in store.requests(trial.search_id, still_open=True) if row.trial_id == trial.id]
    if trial.status in ENDED:
        raise InputError(f"{trial.id} has ended ({trial.status}), so there is nothing to {request}.")
    if request == "resume" and trial.status != "paused" and asked[-1:] != ["pause"]:
        raise InputError(f"{trial.id} is {trial.status}, not paused, so there is nothing to resume.")
    if request == "pause" and trial.status == "paused" and asked[-1:] != ["resume"]:
        raise InputError(f"{trial.id} is paused already; it goes on with: python -m search.control {trial.id} resume")


if __name__ == "__main__":
    run(app, "python -m search.control")
