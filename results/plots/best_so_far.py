"""The best variant so far against what the search had spent by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from results.plots.style import accuracy_axis, families, place_legend
from results.tuned import is_tuning

FOOT = 0.015
"""Where the ticks at the foot stand, a share of the axes."""


def spent(trials: pd.DataFrame, moments: pd.Series, column: str) -> list[float]:
    """Seconds that all trials together had used at each moment, those that failed, were stopped or tuned a rate, too.

    A trial's seconds accrue evenly between its start and its end; one without an end counts from its start on.

    Args:
        trials: of the trials frame, with `started`, `ended` and `column`.
        column: gpu_seconds or wall_seconds.
    """
    known = trials[trials["started"].notna() & trials[column].notna()]
    found = []
    for moment in moments:
        length = (known["ended"] - known["started"]).dt.total_seconds()
        so_far = (moment - known["started"]).dt.total_seconds()
        share = (so_far / length.where(length > 0)).fillna((so_far >= 0).astype(float)).clip(0, 1)
        found.append(float((share * known[column]).sum()))
    return found


def steps(rows: pd.DataFrame, trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """When each variant was known, in the order of it: `spent` (seconds), `val_acc`, `best` so far, and the rows' columns.

    A variant is known when the last of its seeds has ended.

    Args:
        rows: variants that ran to their end, as `results.table.variants` gives them.
        trials: all that took time, as in `spent`.
    """
    ends = trials.set_index("id")["ended"]
    known = rows.assign(known=[ends[names].max() for names in rows["trials"]])
    known = known[known["known"].notna()].sort_values("known", kind="stable")
    return known.assign(spent=spent(trials, known["known"], column), best=known["val_acc"].cummax())


def tuned_at(trials: pd.DataFrame, column: str) -> list[float]:
    """What had been spent when each trial that tuned a learning rate had ended; arguments as in `spent`."""
    return spent(trials, trials.loc[is_tuning(trials) & trials["ended"].notna(), "ended"], column)


def best_so_far(
    found: pd.DataFrame,
    total: float,
    column: str,
    ax: Axes,
    *,
    styles: Mapping[str, tuple[str, str]],
    tuned: Sequence[float] = (),
) -> None:
    """A step line of the best, over a point for each variant at what had been spent when it was known.

    Args:
        found: what `steps` gives, at least one row.
        total: seconds that the whole search has spent, to which the line is drawn.
        column: gpu_seconds or wall_seconds.
        tuned: what `tuned_at` gives: ticks at the foot, for these trials have no point.
    """
    unit, name = (3600.0, "hours") if total > 3600 else (60.0, "minutes")
    for family, group in found.groupby(families(found)):
        colour, marker = styles[str(family)]
        ax.scatter(
            list(group["spent"] / unit), list(group["val_acc"]), color=colour, marker=marker, s=26, alpha=0.85, zorder=2,
            label=str(family),
        )  # fmt: skip
    ax.step(
        [*(found["spent"] / unit), max(total, found["spent"].iloc[-1]) / unit], [*found["best"], found["best"].iloc[-1]],
        where="post", color="black", linewidth=1.5, zorder=3, label="best so far",
    )  # fmt: skip
    if tuned:
        places = [seconds / unit for seconds in tuned]
        ax.plot(
            places, [FOOT] * len(places), transform=ax.get_xaxis_transform(), color="0.5", marker="|", markersize=9,
            linestyle="none", label="a trial that tuned a rate ended",
        )  # fmt: skip
    whose = "GPU-" if column == "gpu_seconds" else ""
    others = "tuned, failed or were stopped" if tuned else "were stopped or failed"
    ax.set_xlabel(f"{whose}{name} of all trials together, those that {others} included")
    ax.set_xlim(0, 1.03 * max(total, found["spent"].iloc[-1]) / unit)
    accuracy_axis(ax)
    place_legend(ax, ax.get_legend_handles_labels()[0])
