"""What a search says when it ends here: why, how it goes on, its table and picture, and what one may want to do next."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from results.cli import DEFAULT_STORAGE
from search.prepare import Prepared
from search.session import Session


def say_how_it_stands(session: Session, status: str, storage: str, console: Console) -> None:
    """Why an unfinished search ends here, and how it goes on."""
    if status == "ended":
        return
    resume = f"{command('search.run', storage)} --resume {session.search_id}"
    why = {
        "paused": "Paused as asked. Go on with",
        "stopped": "Stopped as asked. Its trials have ended; train those that are still to come with",
    }.get(status, "Time is up. Go on with")
    if status == "paused" and session.requested.ending is None:
        one, *others = session.paused
        also = f" (and {len(others)} more)" if others else ""
        why = f"All that is left is paused: {one}{also}. Take it up, then go on, with"
        resume = f"{command('search.control', storage)} {one} resume\n  {resume}"
    console.print(f"{why}\n  {resume}", highlight=False, markup=False, soft_wrap=True)


def show_results(prepared: Prepared, storage: str, console: Console) -> None:
    """The ranked table, the picture, and what one may want to do next."""
    search_id = prepared.search_id
    from results.frames import load
    from results.plot import search_picture
    from results.screen import print_table
    from results.table import COMPLETE, variants

    frames = load(storage)
    table = variants(frames, search_id)
    print_table(frames, table, console)
    picture = search_picture(frames, search_id, prepared.folder / "curves.png")
    trials = frames.trials_of(search_id)
    finished = set(trials.loc[trials["status"].isin(COMPLETE), "id"])
    ranked = table.rows[table.rows["rank"].notna()] if len(table.rows) else table.rows
    console.print(f"\nPicture: {_short(picture)}\nNext:", highlight=False, soft_wrap=True)
    if len(ranked):
        # of the first row, for a mean over the seeds that survived would look better than its variant is
        best = next(name for name in ranked["trials"].iloc[0] if name in finished)
        for module, argument in (("trainer.evaluate", best), ("trainer.replay", best)):
            console.print(f"  {command(module, storage)} {argument}", highlight=False, soft_wrap=True)
        if frames.search(search_id)["settings"].get("grid") is None:
            console.print(f"  {command('search.run', storage)} --confirm {search_id}", highlight=False, soft_wrap=True)
    console.print(f"  {command('results.report', storage)} {search_id}", highlight=False, soft_wrap=True)
    board = Path(sys.executable).parent / "tensorboard"
    console.print(f"  {_short(board)} --logdir {_short(prepared.trials_folder)}", highlight=False, soft_wrap=True)


def command(module: str, storage: str) -> str:
    """What one types here to run a module on that storage."""
    option = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    return f"{_short(Path(sys.executable))} -m {module}{option}"


def _short(path: Path) -> str:
    """The path as one would type it here: relative where it lies under the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
