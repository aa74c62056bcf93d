"""A search over time: which trial ran where and when, at which rungs it was judged, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from results.plots.style import COLOURS, ENDINGS, NOT_ENDED, families, is_dark
from results.store import ENDED
from results.table import COMPLETE
from results.tuned import is_tuning

HOURS = 2 * 3600.0
"""A search that lasts longer is drawn in hours, a shorter one in minutes."""
WAITED = 2.0
"""A trial that lasted so many times what it trained is drawn pale: it waited for something, or was resumed."""
DOTS = "..."
"""The hatch of a trial that tuned a learning rate: it held its slot, and is no measurement of its variant."""
CPU_NAME = 24
"""Characters of a CPU's name on the axis."""


def lanes(trials: pd.DataFrame, until: datetime) -> dict[str, tuple[str, int]]:
    """By trial (machine, lane): the first lane of its machine that was free when it started.

    The store has the machine and the model of its GPU, not which of several equal GPUs it was: trials are packed in the
    order of their starts, as a driver hands out its slots.
    """
    free: dict[str, list[datetime]] = {}
    found: dict[str, tuple[str, int]] = {}
    for trial in trials.sort_values(["started", "number"]).to_dict("records"):
        where = machine(trial["provenance"])
        ends = free.setdefault(where, [])
        place = next((lane for lane, busy in enumerate(ends) if busy <= trial["started"]), len(ends))
        ends[place : place + 1] = [until if pd.isna(trial["ended"]) else trial["ended"]]
        found[trial["id"]] = (where, place)
    return found


def machine(provenance: Mapping[str, Any] | None) -> str:
    """The GPU's model, or the CPU's, and the host."""
    known = provenance or {}
    device = known.get("gpu") or (
        str(known.get("cpu") or "")[:CPU_NAME].strip() if known.get("device") == "cpu" else ""
    )
    return ", ".join(part for part in (device, known.get("hostname")) if part) or "machine not recorded"


def timeline(trials: pd.DataFrame, decisions: pd.DataFrame, ax: Axes, *, until: datetime) -> bool:
    """One bar a trial in the lane that it held, in time since the first start.

    A short tick marks a rung that the trial passed. A cross ends a trial that was stopped, a star one that diverged or
    failed; a hatched bar had not ended at `until`, one with dots tuned a learning rate. A bar is pale where its trial
    lasted more than twice as long as it trained.

    Args:
        trials: rows of the trials frame that have `started`.
        decisions: of the decisions frame; those of other trials are passed over.
        until: when the store was last written to, where a trial has no end.
    Returns:
        Whether a bar is pale.
    """
    began = trials["started"].min()
    ends = trials["ended"].fillna(pd.Timestamp(until))
    span = float((ends.max() - began).total_seconds())
    unit, name = (3600.0, "hours") if span > HOURS else (60.0, "minutes")
    held = lanes(trials, until)
    order = sorted(set(held.values()))
    heights = {lane: -place for place, lane in enumerate(order)}
    kinds = families(trials)
    if kinds.nunique() > len(COLOURS):  # a bar has a colour alone
        kinds = families(trials.drop(columns="layout", errors="ignore"))
    colours = {kind: COLOURS[n % len(COLOURS)] for n, kind in enumerate(sorted(set(kinds)))}
    starts = (trials["started"] - began).dt.total_seconds() / unit
    widths = (ends - trials["started"]).dt.total_seconds() / unit
    is_pale = False
    decided = dict(list(decisions.groupby("trial_id"))) if len(decisions) else {}
    drawn = trials.assign(kind=kinds, start=starts, width=widths, tunes=is_tuning(trials))
    for trial in drawn.to_dict("records"):
        y, start, width = heights[held[trial["id"]]], float(trial["start"]), float(trial["width"])
        trained = trial["wall_seconds"]
        waited = trial["status"] in ENDED and not pd.isna(trained) and width * unit > WAITED * float(trained) + 60
        is_pale |= waited
        hatch = ("///" if trial["status"] in NOT_ENDED else "") + (DOTS if trial["tunes"] else "")
        ax.barh(
            y, width, left=start, height=0.78, color=colours[trial["kind"]], alpha=0.4 if waited else 0.9,
            edgecolor="white", linewidth=1.2, hatch=hatch or None, label=str(trial["id"]),
        )  # fmt: skip
        if width * unit > 0.012 * span * len(str(trial["number"])):
            ax.annotate(
                str(trial["number"]), (start, y + 0.39), xytext=(3, -2), textcoords="offset points", ha="left", va="top",
                fontsize=7, zorder=4,
                color="white" if is_dark(colours[trial["kind"]]) else "black",
            )  # fmt: skip
        rungs = decided.get(trial["id"])
        if rungs is not None:
            passed = rungs[(rungs["decision"] != "stop") & rungs["rung"].notna()]
            times = [float((when - began).total_seconds()) / unit for when in passed["created"]]
            ax.vlines(times, y - 0.39, y - 0.08, color="black", linewidth=1.1, zorder=3)
        if trial["status"] in ENDINGS:
            inside = ax.transData + ScaledTranslation(-5 / 72, 0, ax.figure.dpi_scale_trans)
            ax.plot(
                start + width, y, transform=inside, marker=ENDINGS[trial["status"]], markersize=6, markeredgewidth=1.6,
                color="black", markeredgecolor="black", linestyle="none", zorder=5,
            )  # fmt: skip
    _name_lanes(ax, order)
    ax.set_xlabel(f"{name} since the first trial started")
    ax.set_xlim(0, span / unit * 1.01)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_ylim(-len(order) + 0.4, 0.6)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    _legend(ax, colours, trials, bool(decided))
    return is_pale


def _name_lanes(ax: Axes, order: list[tuple[str, int]]) -> None:
    """What all lanes share stands once beside the axis."""
    machines = {where for where, _ in order}
    devices = {where.partition(", ")[0] for where in machines}
    shared = next(iter(machines)) if len(machines) == 1 else next(iter(devices)) if len(devices) == 1 else ""
    names = [f"{where.removeprefix(shared).removeprefix(', ')} slot {lane + 1}".strip() for where, lane in order]
    ax.set_yticks([-place for place in range(len(order))], names, fontsize=8)
    ax.set_ylabel(shared, fontsize=8)


def _legend(ax: Axes, colours: Mapping[str, str], trials: pd.DataFrame, has_rungs: bool) -> None:
    handles: list[Patch | Line2D] = [Patch(color=colour, label=kind) for kind, colour in colours.items()]
    statuses = set(trials["status"])
    if has_rungs:
        handles.append(Line2D([], [], color="black", marker="|", linestyle="none", markersize=9, label="passed a rung"))
    for label, those, marker in (
        ("stopped early", {"stopped"}, "x"),
        ("diverged or failed", {"diverged", "failed"}, "*"),
    ):
        if statuses & those:
            handles.append(Line2D([], [], color="black", marker=marker, linestyle="none", markersize=6, label=label))
    if is_tuning(trials).any():
        handles.append(Patch(facecolor="0.7", edgecolor="white", hatch=DOTS, label="tuned a learning rate"))
    if statuses & NOT_ENDED:
        handles.append(Patch(facecolor="0.7", edgecolor="white", hatch="///", label="not ended"))
    if statuses & COMPLETE and handles:
        handles.append(Patch(facecolor="white", edgecolor="0.6", label="no mark: ran to its end"))
    ax.legend(handles=handles, fontsize=8, frameon=False, ncols=min(5, len(handles)), loc="lower center",
              bbox_to_anchor=(0.5, 1.0))  # fmt: skip
