"""How a watched search looks on a terminal: a frame of it, and a line for whatever changed where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from results.driver_life import Life, life
from results.rows import DecisionRow, RequestRow, TrialRow
from results.text import percent, plain
from results.tuned import COMPLETE
from results.watched import Rest, Watched, best, rest

CURVE_CELLS = 24
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "._-=+*%#"
RUNNING_ROWS = 16
"""Running trials that a frame has room for."""


class Frame:
    """One frame; its curves are drawn in ASCII where the terminal has no blocks."""

    def __init__(self, watched: Watched, notice: str = "") -> None:
        self._watched, self._notice = watched, notice

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield frame(self._watched, notice=self._notice, marks=ASCII if options.ascii_only else BLOCKS)


def frame(watched: Watched, *, notice: str = "", marks: str = BLOCKS) -> RenderableType:
    """The whole view. `notice` is a sentence about the watching itself, such as that the database is away."""
    search = watched.search
    head = Text.assemble((plain(search.id), "bold"), "  ", (plain(search.status), _style(search.status)))
    life = sign_of_life(watched)
    if life:
        head.append(f"  {life}", style="red" if _is_silent(watched) else "dim")
    lines: list[RenderableType] = [head, Text(plain(search.question), style="italic"), _progress(watched)]
    lines += [Text(used(watched)), Text(rest_words(rest(watched), watched))]
    lines += [Text(best_words(watched), style="bold" if best(watched.trials) else "dim")]
    if watched.running:
        lines.append(_running(watched, marks))
    if watched.decisions:
        lines.append(Text("last decisions", style="dim"))
        lines += [
            Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in map(decision_words, watched.decisions)
        ]
    lines += [Text(request_words(request), style="yellow") for request in watched.requests]
    if search.status in ("interrupted", "paused", "stopped") or _is_silent(watched):
        lines.append(Text(plain(f"go on with: python -m search.run --resume {search.id}"), style="yellow"))
    if notice:
        lines.append(Text(plain(notice), style="red"))
    return Group(*lines)


def sign_of_life(watched: Watched) -> str:
    """Of the driver of a running search: when it was last heard of, and on which host."""
    driver = _life(watched)
    if driver is None:
        return ""
    host = watched.search.provenance.get("hostname")
    where = f" on {plain(host)}" if host else ""
    silent = watched.silent_seconds
    if driver is Life.GONE:
        return f"its driver{where} is gone (process {watched.search.provenance['driver_pid']} has ended)"
    if silent is None:
        return f"its driver{where} has given no sign of life"
    if driver is Life.SILENT:
        return f"its driver{where} has given no sign of life for {_clock(silent)}"
    return f"driver{where} alive {silent:.0f} s ago"


def used(watched: Watched) -> str:
    """GPU-hours so far, or hours of trials where there is no GPU, and since when."""
    since = f"since {watched.search.created:%Y-%m-%d %H:%M} UTC"
    if watched.gpu_hours > 0:
        return f"{_hours(watched.gpu_hours)} GPU-hours used, {since}"
    return f"{_hours(watched.trial_hours)} hours of trials on CPUs, {since}"


def rest_words(left: Rest | None, watched: Watched) -> str:
    """`about 4:10 left (2:00 to 6:20, from 12 ended trials, 2 at once)`."""
    if not watched.is_running:
        return "nothing runs"
    if _is_silent(watched):
        return "no estimate without a driver"
    if left is None:
        return "no estimate before the first epoch"
    at_once = f"{left.slots} at once"
    if left.at_most:
        return f"at most {_clock(left.seconds)} left, if no trial is stopped ({at_once}; {left.ended} have ended)"
    if left.high == left.low:
        return f"about {_clock(left.seconds)} left, if every epoch takes what those so far took ({at_once})"
    return (
        f"about {_clock(left.seconds)} left ({_clock(left.low)} to {_clock(left.high)}, from {left.ended} ended trials, "
        f"{at_once})"
    )


def best_words(watched: Watched) -> str:
    """The best so far with its variant; of a trial that has not ended, at which epoch that was."""
    top = best(watched.trials, watched.search.settings.get("rungs") or ())
    if top is None:
        return "no accuracy yet"
    place = ""
    if top.status not in COMPLETE:
        place = f", at epoch {top.epochs} of {top.config.get('epochs', '?')}; none has run to its end"
    return plain(f"best so far {percent(top.val_acc or 0.0)} %  {top.id}  {watched.words(top)}{place}")


def decision_words(decision: DecisionRow) -> str:
    """`tiny-1.9 epoch 2: stop, 52.10 % below 61.00 % (asha)`."""
    value, cutoff = decision.value, decision.cutoff
    held = "not a number" if value is None else f"{percent(value)} %"
    if value is not None and cutoff is not None:
        held += f" {'below' if value < cutoff else 'against'} {percent(cutoff)} %"
    return plain(f"{decision.trial_id} epoch {decision.epoch}: {decision.decision}, {held} ({decision.scheduler})")


def request_words(request: RequestRow) -> str:
    """What somebody asked for and the driver has not done yet."""
    return plain(f"asked for: {request.trial_id or request.search_id} {request.request}")


def sparkline(values: Sequence[float | None], low: float, high: float, marks: str = BLOCKS) -> str:
    """A curve in characters, the last `CURVE_CELLS` epochs of it; a space where there is no number."""
    top = len(marks) - 1
    spread = high - low
    return "".join(
        " " if value is None else marks[round(top * (value - low) / spread) if spread > 0 else top // 2]
        for value in values[-CURVE_CELLS:]
    )


def changes(before: Watched | None, now: Watched) -> Iterator[str]:
    """A plain line for everything that changed between two looks; a summary at the first."""
    if before is None:
        yield summary(now)
        return
    known = {trial.id: trial for trial in before.trials}
    seen = {(decision.trial_id, decision.epoch) for decision in before.decisions}
    for trial in now.trials:
        former = known.get(trial.id)
        if former is None or (former.status, former.epochs) != (trial.status, trial.epochs):
            yield _line(now.now, f"{trial.id} {now.words(trial)}  {_state(trial)}")
    for decision in reversed(now.decisions):
        if (decision.trial_id, decision.epoch) not in seen:
            yield _line(now.now, decision_words(decision))
    for request in now.requests:
        if request.id not in {other.id for other in before.requests}:
            yield _line(now.now, request_words(request))
    if before.search.status != now.search.status or _is_silent(before) != _is_silent(now):
        yield summary(now)
    elif len(before.ended) != len(now.ended):
        yield _line(now.now, f"{now.search.id}: {_counted(now)}; {best_words(now)}; {rest_words(rest(now), now)}")


def summary(watched: Watched) -> str:
    """The state of the search in a line."""
    parts = [plain(watched.search.status), sign_of_life(watched), _counted(watched), best_words(watched)]
    if watched.is_running:
        parts.append(rest_words(rest(watched), watched))
    return _line(watched.now, f"{watched.search.id}: {'; '.join(part for part in parts if part)}")


def _progress(watched: Watched) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    ended, planned = len(watched.ended), watched.planned
    states = ", ".join(f"{count} {plain(status)}" for status, count in watched.counts.items())
    to_come = planned - len(watched.trials)
    if to_come:
        states += f"{', ' if states else ''}{to_come} to come"
    bar = ProgressBar(total=max(1, planned), completed=ended, width=30)
    grid.add_row(bar, Text(f"{ended}/{planned} trials"))
    return Group(grid, Text(states or "starting", style="dim"))


def _running(watched: Watched, marks: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("trial", "variant", "epoch", "val %", "images/s", "curve"):
        numeric = name in ("epoch", "val %", "images/s")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "variant", overflow="fold")
    shown = watched.running[:RUNNING_ROWS]
    curves = {trial.id: [epoch.val_acc for epoch in watched.epochs.get(trial.id, ())] for trial in shown}
    values = [value for curve in curves.values() for value in curve if value is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    for trial in shown:
        epochs = watched.epochs.get(trial.id, ())
        speed = epochs[-1].images_per_second if epochs else None
        cells = (
            trial.id,
            watched.words(trial),
            f"{len(epochs)}/{trial.config.get('epochs', '?')}",
            percent(epochs[-1].val_acc or 0.0) if epochs and epochs[-1].val_acc is not None else "",
            f"{speed:,.0f}" if speed else "",
            sparkline(curves[trial.id], low, high, marks),
        )
        table.add_row(*(Text(plain(cell)) for cell in cells))
    if len(watched.running) > len(shown):
        table.add_row(Text(f"and {len(watched.running) - len(shown)} more", style="dim"))
    return table


def _state(trial: TrialRow) -> str:
    value = "" if trial.val_acc is None else f"  val {percent(trial.val_acc)} %"
    cause = f" ({plain(trial.cause)})" if trial.cause and trial.status in ("failed", "diverged") else ""
    return f"epoch {trial.epochs}/{trial.config.get('epochs', '?')}{value}  {plain(trial.status)}{cause}"


def _counted(watched: Watched) -> str:
    states = ", ".join(f"{count} {plain(status)}" for status, count in watched.counts.items())
    return f"{len(watched.ended)}/{watched.planned} trials have ended ({states or 'none has begun'})"


def _is_silent(watched: Watched) -> bool:
    """Whether its driver is known to be gone, or has given no sign of life for long."""
    return _life(watched) in (Life.GONE, Life.SILENT)


def _life(watched: Watched) -> Life | None:
    return life(watched.search.status, watched.search.provenance, watched.silent_seconds)


def _style(status: str) -> str:
    return {"running": "green", "ended": "cyan"}.get(status, "yellow")


def _line(moment: datetime, sentence: str) -> str:
    return f"[{moment:%H:%M:%S}] {plain(sentence)}"


def _hours(hours: float) -> str:
    return f"{hours:.3f}" if hours < 1 else f"{hours:,.1f}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 360_000:
        return f"{whole / 86_400:.0f} days"
    return (
        f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )
