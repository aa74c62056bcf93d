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
# # A study of trees
#
# A fast feedforward layer (FFF) is a tree of neurons: each input takes one path of `depth` nodes to one of `2 ** depth`
# leaves, so few neurons work for it. Are the leaves used at all, and does a deeper tree pay?

# %%
# %matplotlib inline
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from IPython.display import Image

import results
from results.leaf_use import leaf_use_picture
from results.plots.catalog import figure_of

storage = os.environ.get("ARBOR_STORAGE", "sqlite:///../../runs/arbor.db")
frames = results.load(storage)
pd.options.display.precision = 4
pd.options.display.width = 110

# %% [markdown]
# All trees of the latest search that samples variants. A stopped trial's accuracy is of an earlier epoch: `epochs_run` says
# of which.

# %%
sampled = frames.searches["settings"].map(lambda settings: settings.get("scheduler") in ("asha", "hyperband", "median"))
search = frames.searches.loc[sampled, "id"].iloc[-1]
trials = frames.trials_of(search)
trees = trials[trials["ffn"] == "fff"]
columns = [
    "id",
    "ffn.fff.depth",
    "ffn.fff.trees",
    "lr",
    "parameters",
    "neurons_used",
    "val_acc",
    "epochs_run",
    "status",
]
trees.sort_values(["epochs_run", "val_acc"], ascending=False)[columns].head(10)

# %% [markdown]
# ## Many parameters, few neurons
#
# What a dense layer of this size would compute, a tree does not: `neurons_used` counts the neurons that work for one input.

# %%
trials.groupby("ffn")[["parameters", "neurons_used", "val_acc"]].agg(["min", "max"])

# %%
figure_of(frames, search, "neurons")

# %% [markdown]
# ## Depth and number of trees
#
# The best accuracy of each shape at the first epoch, which *every* trial reached: the one place where all of them compare.

# %%
first = frames.epochs[frames.epochs["epoch"] == 1].set_index("trial_id")["val_acc"]
at_first = trees.assign(first=trees["id"].map(first))
at_first.pivot_table(index="ffn.fff.depth", columns="ffn.fff.trees", values="first", aggfunc="max")

# %% [markdown]
# ## Are the leaves used?
#
# Each epoch a fixed sample of images goes through the trees. `dead_leaves` is the share of leaves that none of it reaches,
# `leaf_entropy` is 1 for even use, `path_agreement` the share of inputs that took the path of the epoch before.

# %%
said = frames.epochs[frames.epochs["trial_id"].isin(trees["id"])]
use = said.join(said["extra"].map(lambda extra: extra.get("trees", {})).apply(pd.Series))
use.groupby("epoch")[["dead_leaves", "leaf_entropy", "path_agreement"]].mean()

# %%
longest = trees.sort_values(["epochs_run", "val_acc"]).iloc[-1]
with TemporaryDirectory() as folder:
    picture = Image(leaf_use_picture(frames, longest["id"], Path(folder) / "leaves.png").read_bytes())
picture

# %% [markdown]
# ## What to ask next
#
# A search like this one picks what to look at; it cannot say that a tree beats a dense layer. For that, a comparison at
# equal parameters, or at equal neurons used, with several seeds and a learning rate tuned for each side: an experiment with
# `match=` and `--tune-lr`.
