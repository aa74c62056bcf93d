"""Pictures of how a search went: learning curves, accuracy against costs, the best so far, rungs, who ran when."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import count
from typing import Any

import altair as alt
import pandas as pd

from results.frames import Frames
from results.page.vega import (
    CROSS,
    HEIGHT,
    RING,
    TEXT,
    Families,
    Picture,
    accuracy,
    by_family,
    coloured,
    family_of,
    tooltip,
    values,
)
from results.plots.best_so_far import steps
from results.plots.cost import COSTS, SIDE_BY_SIDE, covering, pareto
from results.plots.keys import LOG_SPAN
from results.plots.points import measured, what_is_drawn
from results.plots.style import COLOURS
from results.plots.timeline import HOURS, lanes
from results.statistics import accuracy_error
from results.table import COMPLETE, Table
from results.text import amount, keys_text, missing, percent
from results.tuned import is_tuning

MOST_POINTS = 20_000
"""Points of all curves together, beyond which only some epochs of each are drawn."""
ENDS = {
    "finished": "finished", "plateau": "finished", "stopped": "stopped early", "diverged": "diverged or failed",
    "failed": "diverged or failed",
}  # fmt: skip
END_SHAPES = {"finished": "circle", "stopped early": CROSS, "diverged or failed": "triangle-down", "not ended": RING}
TUNED = "(tuned a learning rate)"
SHOWN_COSTS = ("parameters", "neurons_used", "macs", "macs_conditional")


def curves(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """Validation accuracy by epoch of every trial, with the rungs; none before the first epoch."""
    trials = frames.trials_of(search_id)
    if not len(trials):
        return None
    epochs = frames.epochs[frames.epochs["trial_id"].isin(trials["id"]) & frames.epochs["val_acc"].notna()]
    if not len(epochs):
        return None
    rungs = [int(rung) for rung in frames.search(search_id)["settings"].get("rungs") or []]
    step = math.ceil(len(epochs) / MOST_POINTS)
    names, kinds = coloured(trials, table)
    status = dict(zip(trials["id"], trials["status"], strict=True))
    labels = labels_of(table)
    points, ends = [], []
    for name, own in epochs.groupby("trial_id", sort=False):
        trial = str(name)
        recorded = list(zip(own["epoch"], own["val_acc"], strict=True))
        kept = [
            row for place, row in enumerate(recorded) if place % step == 0 or row[0] in rungs or row is recorded[-1]
        ]
        number = f".{str(trial).rpartition('.')[2]}"
        points += [
            {"trial": number, "epoch": int(e), "acc": round(100 * a, 4), "family": names[trial]} for e, a in kept
        ]
        epoch, last = kept[-1]
        ends.append(
            {
                "trial": str(trial), "epoch": int(epoch), "acc": 100 * last, "family": names[trial],
                "end": ENDS.get(status[trial], "not ended"), "said": f"{percent(last)} % at epoch {epoch}",
                "keys": labels.get(str(trial), ""), "status": status[trial],
            }
        )  # fmt: skip
    opacity, picked = by_family()
    colour = kinds.colour({row["family"] for row in ends})
    thin = len(ends) > 60
    x = alt.X(
        "epoch:Q",
        title="epoch",
        axis=alt.Axis(values=_whole(epochs["epoch"]), format="d"),
        scale=alt.Scale(zero=False, nice=False, padding=8),
    )
    lines = (
        alt.Chart(values(points))
        .mark_line(strokeWidth=1 if thin else 1.6)
        .encode(
            x=x, y=accuracy("acc"), color=colour, detail="trial:N",
            opacity=alt.condition(picked, alt.value(0.45 if thin else 0.75), alt.value(0.05)),
        )
        .add_params(picked)
    )  # fmt: skip
    present = [name for name in END_SHAPES if any(row["end"] == name for row in ends)]
    shapes = alt.Scale(domain=present, range=[END_SHAPES[name] for name in present])
    marks = (
        alt.Chart(values(ends))
        .mark_point(size=58, filled=True)
        .encode(
            x=x, y=accuracy("acc"), color=colour, opacity=opacity,
            shape=alt.Shape("end:N", scale=shapes, legend=alt.Legend(symbolFillColor=TEXT)),
            tooltip=tooltip(trial="trial", keys="variant", said="validation accuracy", status="status"),
        )
    )  # fmt: skip
    layers: list[Any] = [lines, marks]
    if rungs:
        layers.insert(0, _rung_lines(rungs))
    says = "Each line is a trial; a mark shows how it ended."
    says += f" Dashed: rungs at which trials were judged (epochs {', '.join(map(str, rungs))})." if rungs else ""
    says += f" Of long curves every {step}th epoch is drawn." if step > 1 else ""
    says += " A click on a name of the legend singles it out."
    return Picture(
        name="curves", title="Learning curves", says=says, chart=alt.layer(*layers), height=360, is_wide=True
    )  # fmt: skip


def _whole(numbers: pd.Series) -> list[int]:
    """Where an axis of whole numbers has its ticks: vega asks for about ten, and would name halves of three."""
    low, high = int(numbers.min()), int(numbers.max())
    step = next(
        step for power in count() for step in (10**power, 2 * 10**power, 5 * 10**power) if high - low < 12 * step
    )
    first = -(-low // step) * step
    return [*([low] if first > low else []), *range(first, high + 1, step)]


def _rung_lines(rungs: Sequence[int]) -> alt.Chart:
    return (
        alt.Chart(values([{"epoch": rung} for rung in rungs]))
        .mark_rule(strokeDash=[3, 3], opacity=0.35)
        .encode(x="epoch:Q")
    )


def labels_of(table: Table) -> dict[str, str]:
    """The keys of each trial's variant, in the table's words."""
    return {
        str(trial): keys_text(row, table.telling) for row in table.rows.to_dict("records") for trial in row["trials"]
    }


def costs(frames: Frames, table: Table, search_id: str) -> list[Picture]:
    """Accuracy against each cost in which the variants differ."""
    rows = table.rows
    if not len(rows):
        return []
    imported = bool((rows["imported"] != "").all())
    value = "best_test_acc" if imported else "val_acc"
    trials = frames.trials_of(search_id)
    seconds = "gpu_seconds" if (trials["gpu_seconds"].fillna(0) > 0).any() else "wall_seconds"
    done = rows[rows["complete"] & rows[value].notna()].drop_duplicates("variant")
    found = []
    for column in (*SHOWN_COSTS, seconds):
        if column == "macs_conditional" and rows[column].equals(rows["macs"]):
            continue
        picture = _cost(frames, table, search_id, done, column, value)
        if picture is not None:
            found.append(picture)
    return found


def _cost(frames: Frames, table: Table, search_id: str, done: pd.DataFrame, column: str, value: str) -> Picture | None:
    images = frames.search(search_id)["settings"].get("val_images")
    names, kinds = coloured(frames.trials_of(search_id), table)
    half = "best_test_interval" if value == "best_test_acc" else "interval"
    drawn = []
    for row in done.to_dict("records"):
        cost = row[column] / len(row["trials"]) if column.endswith("_seconds") else row[column]
        if missing(cost) or cost <= 0:
            continue
        width = row[half]
        if missing(width) and images and value == "val_acc":
            width = accuracy_error(row[value], images)
        told = percent(row[value]) + ("" if missing(row[half]) else f" ± {percent(row[half])}")
        drawn.append(
            {
                "cost": float(cost), "acc": 100 * row[value], "low": None if missing(width) else 100 * (row[value] - width),
                "high": None if missing(width) else 100 * (row[value] + width), "family": names[row["trials"][0]],
                "keys": keys_text(row, table.telling), "said": f"{told} %", "price": amount(cost),
                "trial": row["trials"][0] + (f" and {len(row['trials']) - 1} more" if len(row["trials"]) > 1 else ""),
            }
        )  # fmt: skip
    if len({row["cost"] for row in drawn}) < 2:
        return None
    low, high = min(row["cost"] for row in drawn), max(row["cost"] for row in drawn)
    log = high / low >= LOG_SPAN
    best = [drawn[place] for place in pareto([row["cost"] for row in drawn], [row["acc"] for row in drawn])]
    aside = _set_aside(drawn, low, high, log=log)
    end = max(row["x"] for row in drawn)
    front = [*({"x": row["x"], "acc": row["acc"]} for row in best), {"x": end, "acc": best[-1]["acc"]}]
    x = alt.X(
        "x:Q",
        title=COSTS[column] + (f" ({SIDE_BY_SIDE})" if aside else ""),
        scale=alt.Scale(type="log", nice=False, padding=14) if log else alt.Scale(zero=False, padding=14),
        axis=alt.Axis(format="~s", tickCount=6),
    )
    title = "validation accuracy (%)" if value == "val_acc" else "accuracy on the test images, best epoch (%)"
    shown = {row["family"] for row in drawn}
    opacity, picked = by_family()
    base = alt.Chart(values(drawn))
    bars = base.mark_rule(opacity=0.6).encode(
        x=x, y=accuracy("low", title), y2="high:Q", color=kinds.colour(shown), opacity=opacity
    )
    points = base.mark_point(filled=True, size=70, strokeWidth=1.6).encode(
        x=x,
        y=accuracy("acc", title),
        color=kinds.colour(shown),
        shape=kinds.shape(shown),
        opacity=opacity,
        tooltip=tooltip(trial="trial", keys="variant", said="accuracy", price=COSTS[column]),
    )
    layers: list[Any] = (
        [bars] if any(row["low"] is not None for row in drawn) else []
    )  # vega warns of a mark without rows
    layers.append(points.add_params(picked))
    several = done["protocol"].nunique() > 1
    if not several:
        step = alt.Chart(values(front))
        layers.insert(
            0,
            step.mark_line(interpolate="step-after", opacity=0.45, color=TEXT, strokeWidth=1.3).encode(x=x, y="acc:Q"),
        )
    says = _bars_in_words(done, images, half) + ("" if several else " Grey: Pareto front.")
    says += f" {done['protocol'].nunique()} protocols stand in it, whose accuracies compare badly." if several else ""
    return Picture(name=column, title=f"Accuracy against {COSTS[column]}", says=says, chart=alt.layer(*layers))


def _set_aside(drawn: list[dict[str, Any]], low: float, high: float, *, log: bool) -> bool:
    """`x` of each point: its cost, but side by side where equal ones would cover each other; whether there are such."""
    halves = [None if row["high"] is None else row["high"] - row["acc"] for row in drawn]
    covered = covering([row["cost"] for row in drawn], [row["acc"] for row in drawn], halves)
    same = Counter(row["cost"] for row in drawn)
    placed: Counter[float] = Counter()
    for row in drawn:
        step = min(0.014, 0.08 / same[row["cost"]]) if row["cost"] in covered else 0.0
        away = (placed[row["cost"]] - (same[row["cost"]] - 1) / 2) * step
        placed[row["cost"]] += 1
        row["x"] = row["cost"] * (high / low) ** away if log else row["cost"] + away * (high - low)
    return bool(covered)


def _bars_in_words(done: pd.DataFrame, images: Any, half: str) -> str:
    if done[half].notna().any():
        return "Bars: 95 % t intervals over seeds."
    return (
        f"One run each; bars: one standard error on {int(images):,} validation images." if images else "One run each."
    )


def best_so_far(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """The best variant so far against what had been spent; none before the first variant has ended."""
    rows, trials = measured(table), frames.trials_of(search_id)
    if len(rows) < 2:
        return None
    column = "gpu_seconds" if (trials["gpu_seconds"].fillna(0) > 0).any() else "wall_seconds"
    found = steps(rows, trials, column)
    if not len(found):
        return None
    total = float(trials[column].fillna(0).sum())
    unit, name = (3600.0, "hours") if total > 3600 else (60.0, "minutes")
    names, kinds = coloured(trials, table)
    points = [
        {
            "spent": row["spent"] / unit, "acc": 100 * row["val_acc"], "best": 100 * row["best"],
            "family": names[row["trials"][0]], "trial": row["trials"][0], "keys": keys_text(row, table.telling),
            "said": f"{percent(row['val_acc'])} %",
        }
        for row in found.to_dict("records")
    ]  # fmt: skip
    line = [{"spent": row["spent"], "best": row["best"]} for row in points]
    line.append({"spent": max(total / unit, points[-1]["spent"]), "best": points[-1]["best"]})
    whose = "GPU-" if column == "gpu_seconds" else ""
    x = alt.X("spent:Q", title=f"{whose}{name} of all trials together", scale=alt.Scale(zero=True))
    shown = {row["family"] for row in points}
    stair = alt.Chart(values(line)).mark_line(interpolate="step-after", color=TEXT, strokeWidth=1.6)
    dots = alt.Chart(values(points)).mark_point(filled=True, size=60, opacity=0.9)
    chart = alt.layer(
        stair.encode(x=x, y=accuracy("best")),
        dots.encode(
            x=x, y=accuracy("acc"), color=kinds.colour(shown), shape=kinds.shape(shown),
            tooltip=tooltip(trial="trial", keys="variant", said="validation accuracy"),
        ),
    )  # fmt: skip
    says = "Line: the best so far. Time of stopped and failed trials counts."
    says += "" if column == "gpu_seconds" else " No GPU was used: time of training."
    return Picture(
        name="best-so-far", title=f"The best so far against {whose}{name}",
        says=f"{says} {_sentence(what_is_drawn(table, found))}", chart=chart,
    )  # fmt: skip


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def rungs(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """What each trial had when it was judged, and what was decided; none where nothing was."""
    trials = frames.trials_of(search_id)
    decided = frames.decisions[frames.decisions["trial_id"].isin(trials["id"])] if len(trials) else frames.decisions
    decided = decided[decided["rung"].notna() & decided["value"].notna()] if len(decided) else decided
    if not len(decided) or decided["rung"].nunique() > 40:
        return None
    labels = labels_of(table)
    pooled = bool(frames.search(search_id)["settings"].get("pooled_rungs"))
    decided = decided.assign(race="all" if pooled else decided["trial_id"].map(trials.set_index("id")["ffn"]))
    counted: dict[int, int] = defaultdict(int)
    rows = []
    for each in decided.to_dict("records"):
        rung = int(each["rung"])
        counted[rung] += 1
        cut = each["cutoff"]
        rows.append(
            {
                "rung": rung, "aside": ((counted[rung] * 0.618) % 1) - 0.5, "acc": 100 * each["value"],
                "decision": "stopped" if each["decision"] == "stop" else "went on",
                "trial": each["trial_id"], "keys": labels.get(each["trial_id"], ""), "race": each["race"],
                "said": f"{percent(each['value'])} %", "cut": "none yet" if missing(cut) else f"{percent(cut)} %",
            }
        )  # fmt: skip
    cuts = decided[decided["cutoff"].notna()].groupby(["rung", "race"])["cutoff"].last()
    last = cuts.rename("acc").mul(100).reset_index().astype({"rung": int}).assign(aside=0)
    last["side"] = [0.45 if place % 2 else -0.45 for place in range(len(last))]
    ticks = alt.Chart(values([{str(name): value for name, value in row.items()} for row in last.to_dict("records")]))
    x = alt.X("rung:O", title="rung (epoch)", axis=alt.Axis(labelAngle=0))
    aside = alt.XOffset("aside:Q", scale=alt.Scale(domain=[-0.8, 0.8]))
    y = accuracy("acc", "validation accuracy when judged (%)")
    words = ["went on", "stopped"]
    points = (
        alt.Chart(values(rows))
        .mark_point(size=64, filled=True, opacity=0.9)
        .encode(
            x=x, xOffset=aside, y=y,
            color=alt.Color("decision:N", scale=alt.Scale(domain=words, range=[COLOURS[0], COLOURS[1]])),
            shape=alt.Shape("decision:N", scale=alt.Scale(domain=words, range=["circle", CROSS])),
            tooltip=tooltip(
                trial="trial", keys="variant", said="value", cut="cut-off", race="race", decision="decision"
            ),
        )
    )  # fmt: skip
    bars = ticks.mark_tick(thickness=2, size=110, orient="horizontal", color=TEXT, opacity=0.6)
    chart = alt.layer(points, bars.encode(x=x, xOffset=aside, y=y))
    among, met = "those", "the last cut-off there"
    if not pooled and decided["race"].nunique() > 1:
        # in turn to the left and to the right of the bars, which often lie close
        side = alt.XOffset("side:Q", scale=alt.Scale(domain=[-0.8, 0.8]))
        names = ticks.mark_text(color=TEXT, dy=-8).encode(x=x, xOffset=side, y=y, text="race:N")
        chart = alt.layer(chart, names)
        among, met = "those of its kind", "the last cut-off of each kind"
    says = (
        f"The scheduler {decided['scheduler'].iloc[0]} judged each trial by {among} that had come to the rung before it; "
        f"bars: {met}."
    )
    return Picture(name="rungs", title="Decisions at the rungs", says=says, chart=chart)


def timeline(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """Which trial ran when; none where starts are not recorded."""
    trials = frames.trials_of(search_id, tuning=True)
    begun = trials[trials["started"].notna()] if len(trials) else trials
    if not 2 <= len(begun) <= 1500:
        return None
    search = frames.search(search_id)
    moments = [search["heartbeat"], *begun["started"], *begun["ended"]]
    until = max(moment for moment in moments if not pd.isna(moment))
    began = begun["started"].min()
    span = (until - began).total_seconds()
    unit, name = (3600.0, "hours") if span > HOURS else (60.0, "minutes")
    held = lanes(begun, until)
    places = {lane: f"slot {number}" for number, lane in enumerate(sorted(set(held.values())), start=1)}
    labels = labels_of(table)
    names = family_of(trials)
    kinds = Families.of(names.values())
    rows = [
        {
            "lane": places[held[trial["id"]]],
            "from": (trial["started"] - began).total_seconds() / unit,
            "to": ((trial["ended"] if trial["ended"] == trial["ended"] else until) - began).total_seconds() / unit,
            "family": names[trial["id"]], "trial": trial["id"], "status": trial["status"],
            "keys": TUNED if tunes else labels.get(trial["id"], ""), "where": held[trial["id"]][0], "tunes": tunes,
        }
        for trial, tunes in zip(begun.to_dict("records"), map(bool, is_tuning(begun)), strict=True)
    ]  # fmt: skip
    chart = (
        alt.Chart(values(rows))
        .mark_bar(height={"band": 0.82})
        .encode(
            x=alt.X("from:Q", title=f"{name} since the first trial started", scale=alt.Scale(nice=False)),
            x2="to:Q",
            y=alt.Y("lane:N", title=None, sort=list(places.values())),
            color=kinds.colour({row["family"] for row in rows}),
            stroke=alt.condition("datum.tunes", alt.value(TEXT), alt.value("white")),
            strokeDash=alt.condition("datum.tunes", alt.value([3, 2]), alt.value([1, 0])),
            strokeWidth=alt.condition("datum.tunes", alt.value(1.6), alt.value(0.8)),
            opacity=alt.condition(
                f"datum.status == '{sorted(COMPLETE)[0]}' || datum.status == '{sorted(COMPLETE)[1]}'",
                alt.value(0.95), alt.value(0.45),
            ),
            tooltip=tooltip(trial="trial", keys="variant", status="status", where="machine"),
        )
    )  # fmt: skip
    says = (
        "Pale: did not run to its end. Slots are packed by start and end; which of several equal GPUs it was is not "
        "recorded."
    )
    says += " Dashed outline: tuned a learning rate." if any(row["tunes"] for row in rows) else ""
    return Picture(
        name="timeline", title="Who ran when", says=says, chart=chart, height=min(HEIGHT + 60, 60 + 26 * len(places)),
        is_wide=True,
    )  # fmt: skip
