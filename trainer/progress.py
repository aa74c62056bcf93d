"""How making a data set tells what it does: to nobody, or to a console."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[int], None]


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None:
        """One thing that is being done."""

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Advance]:
        """Something of `total` steps; the function that it gives is called with the number of steps done since."""
        yield lambda steps: None


class Told(Silent):
    """Tells a console: with bars on a terminal, with a plain line elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, text: str, total: int) -> Iterator[Advance]:
        if not self._console.is_terminal:
            self.say(text)
            yield lambda steps: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(text, total=total)
            yield lambda steps: progress.advance(task, steps)
