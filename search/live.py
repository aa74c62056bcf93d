"""What a person sees while a search runs: a table that moves in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from results.rows import TrialRow
from results.store import ENDED
from results.text import keys_text, plain
from results.watched import best
from search.ended import BEST
from search.experiment import Experiment
from search.session import Session
from search.verdict import Verdict
from trainer.report import Report

ROWS = BEST
"""Trials shown at once: the running ones, then the best that ended."""


class LiveView:
    """Shows a session. Attach with `session.on_event = view.event`; use as a context while the search runs."""

    def __init__(self, session: Session, console: Console) -> None:
        self._session, self._console = session, console
        self._began = time.monotonic()
        self._speed: dict[str, float] = {}
        self._keys = telling_keys(session.experiment)
        workers = f"{session.concurrency} worker{'s' if session.concurrency > 1 else ''}"
        self._doing = (
            f"starting Ray and {workers} (Ray takes some seconds, each worker's first trial again as many) ..."
        )
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self.render, refresh_per_second=2, transient=True)
            self._live.start()
        else:
            self.note(self._doing)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, row: TrialRow, report: Report | None, verdict: Verdict | None) -> None:
        """One committed report, or a trial that failed."""
        self._doing = ""
        if report is not None and report.row.images_per_second:
            self._speed[row.id] = report.row.images_per_second
        if row.status in ENDED:
            self._speed.pop(row.id, None)
        if self._live is not None:
            return
        accuracy = f"{100 * row.val_acc:6.2f} %" if row.val_acc is not None else "     - "
        rung = f"  rung {verdict.rung}: {'stop' if verdict.stop else 'go on'}" if verdict and verdict.rung else ""
        cause = f"  ({row.cause})" if row.status in ("failed", "diverged") and row.cause else ""
        self._line(
            f"{row.id} {self._words(row)}  epoch {row.epochs or 0}/{row.config['epochs']}  val {accuracy}  "
            f"{row.status}{rung}{cause}"
        )

    def ray_is_up(self) -> None:
        """Ray has started; what takes time from here are the workers."""
        self._doing = "Ray is up; its workers load torch and the data ..."
        if self._live is None:
            self.note(self._doing)

    def _words(self, row: TrialRow) -> str:
        return keys_text({**row.config, "variant": row.variant}, self._keys)

    def note(self, sentence: str) -> None:
        """Something that happened and is no report; stays above the live table."""
        self._line(sentence)

    def _line(self, text: str) -> None:
        """A line with the time before it. What a trial's code raised, or another process wrote, stays text."""
        self._console.print(
            f"[{_clock(time.monotonic() - self._began)}] {plain(text)}", markup=False, highlight=False, soft_wrap=True
        )

    def render(self) -> RenderableType:
        """The whole view, from the session as it is now."""
        session = self._session
        rows = list(session.unfinished.values())
        counts = session.ended.statuses + Counter(row.status for row in rows)
        ended = len(session.ended)
        elapsed = time.monotonic() - self._began
        top = best([*session.ended.best, *rows], session.scheduler.rungs)

        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(session.search_id, style="bold"),
            f"{ended}/{session.planned} trials",
            f"{_clock(elapsed)} elapsed, {self._left()} left",
            f"{sum(self._speed.values()):,.0f} images/s",
        )
        states = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            ProgressBar(total=max(1, session.planned), completed=ended, width=40),
            Text(self._doing or states, style="dim"),
        )
        lines: list[RenderableType] = [head, bar]
        if top is not None and top.val_acc is not None:
            at = "" if top.epochs == top.config["epochs"] else f", at epoch {top.epochs} of {top.config['epochs']}"
            lines.append(Text(f"best so far {100 * top.val_acc:.2f} %  {top.id}  {self._words(top)}{at}"))
        if session.scheduler.rungs:
            lines.append(Text(f"rungs at epochs {', '.join(map(str, session.scheduler.rungs))}", style="dim"))
        lines.append(self._table(rows))
        return Group(*lines)

    def _table(self, rows: list[TrialRow]) -> Table:
        table = Table(box=None, padding=(0, 1))
        for name in ("trial", "variant", "epoch", "val acc", "images/s", "status"):
            table.add_column(name, justify="right" if name in ("epoch", "val acc", "images/s") else "left")
        running = [row for row in rows if row.status == "running"]
        for row in (running + self._session.ended.best)[:ROWS]:
            speed = self._speed.get(row.id)
            table.add_row(
                row.id,
                Text(self._words(row), overflow="ellipsis", no_wrap=True),
                f"{row.epochs or 0}/{row.config['epochs']}",
                f"{100 * row.val_acc:.2f} %" if row.val_acc is not None else "",
                f"{speed:,.0f}" if speed else "",
                row.status,
                style="bold" if row.status == "running" else None,
            )
        return table

    def _left(self) -> str:
        """Expected time left: what the trials that ended took, for each one that has not, over the slots."""
        took = self._session.ended.mean_seconds
        if took is None:
            return "?"
        missing = self._session.planned - len(self._session.ended)
        return _clock(took * missing / self._session.concurrency)


def telling_keys(experiment: Experiment) -> list[str]:
    """The keys by which a search's trials are told apart: those that it samples, or in which its variants differ.

    The kind comes first, and the learning rate of a comparison that tunes it last.
    """
    if experiment.grid is None:
        from search.sampler import Sampler

        found = set(Sampler(replace(experiment, sampler="random"), 1).described())
    else:
        given = [{**experiment.base, **experiment.fixed, **variant} for variant in experiment.grid]
        found = {
            key for flat in given for key in flat if any(key not in other or other[key] != flat[key] for other in given)
        }
        found |= {"lr"} if experiment.tune_lr else set()
        if not found and given:  # one variant: its name is what was said of it
            found = {key for key in given[0] if key == "ffn" or key.startswith("ffn.")}
    kinds = {"ffn"} & found
    own = sorted(key for key in found if key.startswith("ffn."))
    return [*kinds, *own, *sorted(found - kinds - set(own))]


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
