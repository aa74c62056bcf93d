"""Learning curves of a search, with the rungs at which trials were stopped."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from results.frames import Frames
from results.plots.colouring import GREY, colouring
from results.plots.style import ENDINGS, accuracy_axis, legend, say
from results.table import COMPLETE, variants


def curves(frames: Frames, search_id: str, ax: Axes) -> None:
    """Validation accuracy by epoch of every trial, coloured by kind, or by variant where there is one kind.

    A curve ends in a filled marker where the trial finished, a cross where the scheduler stopped it, a star where it
    diverged or failed, and a hollow marker where it may go on.
    """
    trials = frames.trials_of(search_id)
    coloured = colouring(trials, variants(frames, search_id, everything=True))
    rungs = frames.search(search_id)["settings"].get("rungs") or []
    for rung in rungs:
        ax.axvline(rung, color="0.75", linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        ax.annotate(
            f"rung {rung}", (rung, 1.01), xycoords=("data", "axes fraction"), fontsize=7, color="0.4", ha="center"
        )
    recorded = dict(list(frames.epochs.dropna(subset=["val_acc"]).groupby("trial_id")))
    for _, trial in trials.iterrows():
        rows = recorded.get(trial["id"])
        if rows is None:
            continue
        colour, marker = coloured.styles[coloured.names[trial["id"]]]
        over = int(colour != GREY)
        done = trial["status"] in COMPLETE
        ax.plot(
            rows["epoch"], rows["val_acc"], color=colour, linewidth=1.6 if done else 0.9, alpha=0.95 if done else 0.6,
            zorder=2 + over / 2,
        )  # fmt: skip
        last = rows.iloc[-1]
        ending = ENDINGS.get(trial["status"], marker)
        size = 36 if trial["status"] in ENDINGS else 24
        filled = done or trial["status"] in ENDINGS
        ax.scatter(
            last["epoch"], last["val_acc"], color=colour, facecolor=colour if filled else "white", marker=ending, s=size,
            zorder=3 + over,
        )  # fmt: skip
    ax.set_xlabel("epoch")
    accuracy_axis(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not recorded.keys() & set(trials["id"]):
        say(ax, "no epoch has been recorded yet")
    legend(ax, coloured.styles, set(trials["status"]))
