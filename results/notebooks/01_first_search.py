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
# # A first search
#
# A search has run, such as `python -m search.run` runs it. What did it find, and how much of that may one believe?
# Everything here is read from the store; nothing is trained.

# %%
# %matplotlib inline
import os

import pandas as pd

import results
from results.plots.catalog import figure_of
from results.table import variants

storage = os.environ.get("ARBOR_STORAGE", "sqlite:///../../runs/arbor.db")
frames = results.load(storage)
pd.options.display.precision = 4
pd.options.display.width = 110

# %% [markdown]
# The store is four frames: `searches`, `trials`, `epochs` and `decisions`. A search that samples variants has a scheduler
# which stops the weak ones; a comparison has a grid instead. We take the latest search that samples.

# %%
searches = frames.searches.assign(
    scheduler=frames.searches["settings"].map(lambda settings: settings.get("scheduler", "")),
    trials=frames.searches["id"].map(frames.trials["search_id"].value_counts()),
)
searches[["id", "question", "status", "scheduler", "trials"]]

# %%
search = searches.loc[searches["scheduler"].isin(["asha", "hyperband", "median"]), "id"].iloc[-1]
trials = frames.trials_of(search)
trials.groupby(["ffn", "status"])["epochs_run"].agg(["count", "mean"])

# %% [markdown]
# ## Who is ahead
#
# Ranked is the validation accuracy at the *last* epoch of trials that ran to their end. A stopped trial stands below, by
# how far it came: its accuracy belongs to an earlier epoch, and would not compare.

# %%
table = variants(frames, search)
table.rows[["rank", *table.telling, "val_acc", "best_val_acc", "epochs_run", "parameters", "status"]].head(8)

# %%
figure_of(frames, search, "curves")

# %% [markdown]
# ## The best epoch flatters
#
# One could report each trial's best epoch instead. That is a maximum over noisy values, so it is never lower, and its
# advantage is partly luck. Here is how much it would add to each finished trial, in points of accuracy:

# %%
finished = trials[trials["status"] == "finished"]
(100 * (finished["best_val_acc"] - finished["val_acc"])).describe()[["count", "mean", "max"]]

# %% [markdown]
# ## What it cost
#
# A trial that was stopped early cost little: that is what the scheduler is for. Seconds are those of whole trials, with
# their start.

# %%
seconds = trials.groupby("status")["wall_seconds"].agg(["count", "sum", "mean"])
seconds.assign(share=seconds["sum"] / seconds["sum"].sum())

# %% [markdown]
# ## What may be claimed
#
# Every variant had one seed, and the winner is the best of many tries, so its accuracy is too high on average. The table
# says so itself:

# %%
for note in table.notes:
    print("-", note)

# %% [markdown]
# The next step is `python -m search.run --confirm SEARCH`: the best variants and a baseline with fresh seeds. Comparing
# variants over seeds is the subject of the next notebook.
