# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What if ASHA had been stricter?
#
# ASHA judges a trial at a few epochs, the rungs: the best 1/`reduction` of all that came there go on. That saves time and
# sometimes loses a late bloomer. How early can one tell, and what would other settings have done?

# %%
# %matplotlib inline
import json
import os
import subprocess
import sys

import pandas as pd

import results
from results.plots.catalog import figure_of

storage = os.environ.get("ARBOR_STORAGE", "sqlite:///../../runs/arbor.db")
frames = results.load(storage)
pd.options.display.precision = 4
pd.options.display.width = 110

# %% [markdown]
# ## What it decided
#
# Every decision is in the store with the value and the cut-off that made it.

# %%
sampled = frames.searches["settings"].map(lambda settings: settings.get("scheduler") == "asha")
search = frames.searches.loc[sampled, "id"].iloc[-1]
own = frames.decisions[frames.decisions["trial_id"].isin(frames.trials_of(search)["id"])]
decided = own.assign(points_to_cutoff=100 * (own["value"] - own["cutoff"]))
decided.groupby(["rung", "decision"])["points_to_cutoff"].agg(["count", "median"]).unstack("decision")

# %%
figure_of(frames, search, "timeline")

# %% [markdown]
# ASHA does not wait: the first trial at a rung has nobody beside it and goes on, whatever it is worth. Each kind of
# feed-forward has a race of its own, unless rungs are pooled. The first cut-off of a race and its last show how far the bar
# moved:

# %%
kinds = frames.trials_of(search).set_index("id")["ffn"]
races = own.assign(kind=own["trial_id"].map(kinds)).groupby(["rung", "kind"])["cutoff"]
races.agg(["first", "last", "count"])

# %% [markdown]
# ## How early can one tell?
#
# For that one needs trials that nobody stopped: the latest comparison. The rank correlation of the accuracy at each epoch
# with that at the last, over all its trials; 1 means that the order no longer changes.

# %%
is_grid = frames.searches["settings"].map(lambda settings: settings.get("grid") is not None)
full = frames.searches.loc[is_grid, "id"].iloc[-1]
curves = frames.epochs[frames.epochs["trial_id"].isin(frames.trials_of(full)["id"])].pivot(
    index="trial_id", columns="epoch", values="val_acc"
)
curves.rank().corrwith(curves.iloc[:, -1].rank()).rename("rank correlation with the last epoch").to_frame().T

# %% [markdown]
# ## Halving by hand
#
# Keep the best 1/r at one epoch and train only those to the end: which share of the epochs is trained, and how far below
# the best of all is the best that was kept? (All trials judged at once, which ASHA on a few slots cannot do.)

# %%
horizon, rows = curves.columns[-1], []
for reduction in (2, 3, 4):
    for epoch in curves.columns[:-1]:
        kept = curves.nlargest(max(1, len(curves) // reduction), epoch)
        trained = len(kept) * horizon + (len(curves) - len(kept)) * epoch
        lost = 100 * (curves[horizon].max() - kept[horizon].max())
        rows.append({"reduction": reduction, "epoch": epoch, "trained": trained / curves.size, "points_lost": lost})
halved = pd.DataFrame(rows)
halved.pivot(index="epoch", columns="reduction", values=["trained", "points_lost"])

# %% [markdown]
# ## The scheduler itself, in virtual time
#
# `search.simulate` runs the search's own scheduler over these curves, with as many slots as the search had, in the recorded
# order of the trials and in others by chance. `regret` is how far the best trial that is left lies below the best of all
# (mean over the orders, a fraction), `best_kept` in which share of the orders that is the same trial.

# %%
command = [sys.executable, "-m", "search.simulate", full, "--reduction", "2,3", "--grace", "1,2", "--storage", storage]
done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
simulated = pd.json_normalize(json.loads(done.stdout)["outcomes"]).rename(columns=lambda name: name.rpartition(".")[2])
simulated.set_index(["reduction", "grace"])[["stopped", "epochs", "regret", "worst_regret", "best_kept"]]

# %% [markdown]
# The trials are the recorded ones whatever is stopped: what a sampler would have tried instead is not in it.
