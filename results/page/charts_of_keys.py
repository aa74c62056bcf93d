"""Pictures of what was varied: parallel coordinates, level rates, leaf use, differences, searched against confirmed."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import pandas as pd

from results.comparison import Comparison
from results.confirmed import SEARCHED
from results.frames import Frames
from results.page.vega import (
    ACCURACY_COLOURS,
    HEIGHT,
    TEXT,
    Families,
    Picture,
    accuracy,
    by_family,
    tooltip,
    values,
)
from results.plots.keys import Scale, searched, short_name
from results.plots.level_effect import EQUAL_MEAN, rate_lines
from results.plots.points import measured, stopped
from results.plots.style import COLOURS, accuracy_colours
from results.table import Table
from results.text import keys_text, missing, percent, plain
from results.verdict import DIFFERENT, EQUIVALENT

ABSENT = -0.12
"""Where a variant stands on the axis of a key that it does not have."""
MOST_KEYS = 12
MOST_LEAVES = 1024


def parallel(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """The searched keys as parallel coordinates; none below three variants that ran to their end, or for one key."""
    rows, halted = measured(table), stopped(table)
    every = pd.concat([rows, halted]) if len(halted) else rows
    keys = searched(every, table.telling)[:MOST_KEYS] if len(rows) >= 3 else []
    if len(keys) < 2:
        return None
    scales = [Scale.of(every[key]) for key in keys]
    names = [
        short_name(key) + (" (log)" if scale.kind == "log" else "") for key, scale in zip(keys, scales, strict=True)
    ]
    places = [f"{place}" for place in range(len(keys))]
    norm = accuracy_colours(list(rows["val_acc"]))
    low, high = 100 * float(norm.vmin or 0), 100 * float(norm.vmax or 1)
    points = []
    for row in every.to_dict("records"):
        whole = bool(row["complete"])
        for place, key, scale in zip(places, keys, scales, strict=True):
            gone = missing(row[key])
            points.append(
                {
                    "key": place, "at": ABSENT if gone else scale.share(row[key]), "trial": row["trials"][0],
                    "acc": 100 * row["val_acc"] if whole else None, "keys": keys_text(row, table.telling),
                    "said": f"{percent(row['val_acc'])} %" if whole else f"stopped at epoch {row['epochs_run']}",
                }
            )  # fmt: skip
    ticks = [
        {"key": place, "at": scale.share(value), "text": text}
        for place, scale in zip(places, scales, strict=True)
        for value, text in scale.ticks()
    ]
    if any(point["at"] == ABSENT for point in points):
        ticks.append({"key": places[0], "at": ABSENT, "text": "no such key"})
    labels = " : ".join(
        f"datum.value == '{place}' ? {_quoted(name)}" for place, name in zip(places, names, strict=True)
    )
    x = alt.X(
        "key:O",
        title=None,
        axis=alt.Axis(
            labelExpr=f"{labels} : ''", labelAngle=0, grid=True, gridOpacity=0.5, domain=False, ticks=False,
            labelFontSize=12, labelOverlap=False, labelLimit=110,
        ),
        scale=alt.Scale(type="point", padding=0.4),
    )  # fmt: skip
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.16, 1.04]))
    one = alt.selection_point(fields=["trial"], on="pointerover", nearest=False, empty=False, name="line_under_pointer")
    base = alt.Chart(values(points))
    grey = base.transform_filter("datum.acc == null").mark_line(
        strokeWidth=0.8, strokeDash=[3, 2], color=TEXT, opacity=0.25
    )
    lines = (
        base.transform_filter("datum.acc != null")
        .mark_line()
        .encode(
            x=x, y=y, detail="trial:N", order=alt.Order("key:O"),
            color=alt.Color(
                "acc:Q", title="validation accuracy (%)",
                scale=alt.Scale(range=list(ACCURACY_COLOURS), domain=[low, high], clamp=True),
                legend=alt.Legend(title="validation accuracy (%)", gradientLength=180),
            ),
            strokeWidth=alt.condition(one, alt.value(4), alt.value(1.6)),
            tooltip=tooltip(trial="trial", keys="variant", said="validation accuracy"),
        )
        .add_params(one)
    )  # fmt: skip
    text = alt.Chart(values(ticks)).mark_text(align="left", dx=5, fontSize=10, color=TEXT, opacity=0.85)
    chart = alt.layer(
        grey.encode(x=x, y=y, detail="trial:N", order=alt.Order("key:O")),
        lines,
        text.encode(x=x, y=y, text="text:N"),
    ).resolve_scale(color="independent")
    says = f"One line a variant that ran to its end ({len(rows)}), blue where it is accurate."
    says += f" Grey dashes: {len(halted)} stopped early." if len(halted) else ""
    more = len(searched(every, table.telling)) - len(keys)
    says += f" {more} more keys are not drawn." if more > 0 else ""
    return Picture(name="parallel", title="What was searched", says=says, chart=chart, height=340, is_wide=True)


def _quoted(text: str) -> str:
    """A text as a string of a vega expression: whatever it holds, it stays a string."""
    return "'" + "".join(letter if letter.isalnum() or letter in " ._()-" else f"\\u{ord(letter):04x}" for letter in text
                         if ord(letter) < 0x10000) + "'"  # fmt: skip


def level_rates(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """Accuracy against the ratio of neighbouring levels' rates; none where no two variants differ in it alone."""
    rows = measured(table)
    shared = {key: value for key, value in table.common.items() if key.endswith(f".{EQUAL_MEAN}")}
    lines = rate_lines(rows.assign(**shared), searched(rows, table.varying)) if len(rows) else []
    if not lines:
        return None
    points = [
        {
            "ratio": float(row["ratio"]), "acc": 100 * row["val_acc"], "family": plain(line.name), "dash": line.equal_mean,
            "low": 100 * (row["val_acc"] - (0 if missing(row["interval"]) else row["interval"])),
            "high": 100 * (row["val_acc"] + (0 if missing(row["interval"]) else row["interval"])),
            "said": percent(row["val_acc"]) + ("" if missing(row["interval"]) else f" ± {percent(row['interval'])}") + " %",
        }
        for line in lines[:24]
        for row in line.rows.to_dict("records")
    ]  # fmt: skip
    shown = {row["family"] for row in points}
    kinds = Families.of(shown)
    x = alt.X(
        "ratio:Q",
        title="level_lr_ratio: rate of a level over that of the level below",
        scale=alt.Scale(zero=False, padding=16),
    )
    opacity, picked = by_family()
    base = alt.Chart(values(points))
    dash = alt.StrokeDash("dash:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 3]]), legend=None)
    chart = alt.layer(
        base.mark_rule(opacity=0.5).encode(x=x, y=accuracy("low"), y2="high:Q", color=kinds.colour(shown), opacity=opacity),
        base.mark_line(point=alt.OverlayMarkDef(size=50))
        .encode(x=x, y=accuracy("acc"), color=kinds.colour(shown), strokeDash=dash, opacity=opacity,
                tooltip=tooltip(family="line", ratio="ratio", said="validation accuracy"))
        .add_params(picked),
    )  # fmt: skip
    says = "One line a set of variants that differ in this ratio alone; below 1 the root learns most slowly."
    says += " Dashed: factors divided by their mean." if any(line.equal_mean for line in lines) else ""
    says += " Bars: 95 % t intervals over seeds." if rows["interval"].notna().any() else " One seed each."
    return Picture(name="level-rates", title="Rates by tree level", says=says, chart=chart)


def leaf_use(frames: Frames, table: Table, search_id: str) -> Picture | None:
    """How evenly the best trial that has counted leaves uses them; none where no trial has."""
    trials = frames.trials_of(search_id)
    if not len(trials):
        return None
    last = frames.epochs[frames.epochs["trial_id"].isin(trials["id"])].sort_values("epoch").groupby("trial_id").tail(1)
    counted = {
        trial: extra["trees"]
        for trial, extra in zip(last["trial_id"], last["extra"], strict=True)
        if ((extra or {}).get("trees") or {}).get("leaf_visits")
    }
    ranked = trials[trials["id"].isin(counted) & trials["val_acc"].notna()].sort_values("val_acc", ascending=False)
    if not len(ranked):
        return None
    best = str(ranked["id"].iloc[0])
    points, words, leaves = [], [], 1
    for module, trees in counted[best]["leaf_visits"].items():
        dead = sum(count == 0 for tree in trees for count in tree)
        words.append(f"{module}: {dead} of {sum(map(len, trees))} reached by no input")
        leaves = max(leaves, *(len(tree) for tree in trees))
        for number, tree in enumerate(trees, start=1):
            total = max(1, sum(tree))
            for rank, count in enumerate(sorted(tree, reverse=True)[:MOST_LEAVES], start=1):
                points.append(
                    {"rank": rank, "share": 100 * count / total, "family": plain(module), "tree": f"{module} {number}"}
                )
    shown = {row["family"] for row in points}
    kinds = Families.of(shown)
    x = alt.X("rank:Q", title="leaves, the most visited first", axis=alt.Axis(tickMinStep=1, format="d"))
    line = (
        alt.Chart(values(points))
        .mark_line(interpolate="step", strokeWidth=1.4, opacity=0.8)
        .encode(x=x, y=alt.Y("share:Q", title="share of the inputs (%)"), color=kinds.colour(shown), detail="tree:N",
                tooltip=tooltip(tree="tree", rank="leaf", share="share of the inputs (%)"))
    )  # fmt: skip
    even = alt.Chart(values([{"share": 100 / leaves}])).mark_rule(strokeDash=[4, 3], opacity=0.7).encode(y="share:Q")
    says = f"Of {best}, the most accurate trial whose leaves were counted. Dashed: even use. {'; '.join(words)}."
    return Picture(name="leaf-use", title="Use of the leaves", says=says, chart=alt.layer(line, even))


def differences(found: Comparison) -> Picture | None:
    """The difference of each variant and the first that was named, with its interval; none without a spread."""
    rows = []
    for pair in found.pairs:
        if pair.verdict is None or math.isnan(pair.verdict.difference.low):
            continue
        each = pair.verdict.difference
        rows.append(
            {
                "name": pair.b.label, "value": -100 * each.value, "low": -100 * each.high, "high": -100 * each.low,
                "word": pair.verdict.word, "said": f"{-100 * each.value:+.2f} points", "claim": pair.claim,
            }
        )  # fmt: skip
    if not rows:
        return None
    words = [DIFFERENT, EQUIVALENT, "not resolved"]
    colour = alt.Color("word:N", scale=alt.Scale(domain=words, range=[COLOURS[0], COLOURS[2], "#999999"]))
    shape = alt.Shape("word:N", scale=alt.Scale(domain=words, range=["circle", "square", "diamond"]))
    y = alt.Y(
        "name:N", title=None, sort=[str(row["name"]) for row in rows], axis=alt.Axis(labelLimit=190, labelOverlap=False)
    )
    x = alt.X(
        "low:Q",
        title="points of validation accuracy, against the first",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(tickCount=12),
    )
    base = alt.Chart(values(rows))
    chart = alt.layer(
        alt.Chart(values([{"zero": 0}])).mark_rule(opacity=0.6).encode(x=alt.X("zero:Q")),
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=x, x2="high:Q", y=y, color=colour),
        base.mark_point(filled=True, size=80).encode(
            x="value:Q",
            y=y,
            color=colour,
            shape=shape,
            tooltip=tooltip(name="variant", said="difference", claim="claim"),
        ),
    )
    says = (
        f"Mean of the variant minus that of {found.pairs[0].a.label}, with 95 % t intervals by the pooled deviation; the "
        f"verdicts are corrected for their number (Holm), the intervals are not. Equivalent: within {100 * found.margin:g} "
        "points."
    )
    return Picture(
        name="differences",
        title="Differences",
        says=says,
        chart=chart,
        height=max(90, 30 + 30 * len(rows)),
        is_wide=True,
    )


def searched_and_confirmed(table: Table) -> Picture | None:
    """What the search had shown of each variant beside its mean over fresh seeds; none without a confirmation."""
    if SEARCHED not in table.rows:
        return None
    rows: list[dict[str, Any]] = [
        {
            "name": keys_text(row, table.telling), "searched": 100 * row[SEARCHED], "confirmed": 100 * row["val_acc"],
            "low": None if missing(row["interval"]) else 100 * (row["val_acc"] - row["interval"]),
            "high": None if missing(row["interval"]) else 100 * (row["val_acc"] + row["interval"]),
        }
        for row in table.rows.to_dict("records")
        if row["complete"] and not missing(row[SEARCHED])
    ]  # fmt: skip
    if not rows:
        return None
    marks = [
        {"name": row["name"], "acc": row[what], "what": what, "said": f"{row[what]:.2f} %"}
        for row in rows
        for what in ("searched", "confirmed")
    ]
    kinds = ["searched", "confirmed"]
    y = alt.Y(
        "name:N", title=None, sort=[str(row["name"]) for row in rows], axis=alt.Axis(labelLimit=190, labelOverlap=False)
    )
    scale = alt.Scale(zero=False, nice=True)
    chart = alt.layer(
        alt.Chart(values(rows)).mark_rule(strokeWidth=2, color=COLOURS[0], opacity=0.7).encode(
            x=alt.X("low:Q", title="validation accuracy (%)", scale=scale, axis=alt.Axis(tickCount=10)), x2="high:Q", y=y
        ),
        alt.Chart(values(marks)).mark_point(size=80, strokeWidth=1.8, filled=True).encode(
            x=alt.X("acc:Q", scale=scale), y=y,
            color=alt.Color("what:N", scale=alt.Scale(domain=kinds, range=[COLOURS[1], COLOURS[0]])),
            shape=alt.Shape("what:N", scale=alt.Scale(domain=kinds, range=["diamond", "circle"])),
            tooltip=tooltip(name="variant", what="value", said="validation accuracy"),
        ),
    )  # fmt: skip
    says = "Searched: the one run that picked the variant. Confirmed: mean over fresh seeds, with its 95 % t interval."
    return Picture(
        name="confirmed", title="Searched and confirmed", says=says, chart=chart,
        height=max(min(HEIGHT, 120), 40 + 34 * len(rows)), is_wide=True,
    )  # fmt: skip
