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
# # Comparing variants
#
# A comparison trains every variant with every seed and stops none, such as `search.run --confirm` or an experiment with a
# grid. How large must a difference be before one may speak of it?

# %%
# %matplotlib inline
import os

import pandas as pd

import results
from results.comparison import compare
from results.plots.catalog import figure_of
from results.table import variants
from results.text import keys_text

storage = os.environ.get("ARBOR_STORAGE", "sqlite:///../../runs/arbor.db")
frames = results.load(storage)
pd.options.display.precision = 4
pd.options.display.width = 110
pd.options.display.max_colwidth = 80

# %%
is_grid = frames.searches["settings"].map(lambda settings: settings.get("grid") is not None)
search = frames.searches.loc[is_grid, "id"].iloc[-1]
print(frames.search(search)["question"])
table = variants(frames, search)
names = {row["variant"]: keys_text(row, table.telling) for row in table.rows.to_dict("records")}
pd.Series(names, name="variant")

# %% [markdown]
# ## One seed says little
#
# Each row is a variant, each column a seed. Had we looked at one column alone, which variant would have won
# (of equals the first)?

# %%
trials = frames.trials_of(search)
by_seed = trials.pivot(index="variant", columns="seed", values="val_acc")
by_seed

# %%
by_seed.idxmax().map(names).rename("winner")

# %% [markdown]
# ## Mean, spread, interval
#
# `interval` is half the width of the 95 % t interval of a variant's own seeds. With three seeds the t quantile is 4.3, so
# it is wide, and rightly so. Rows with `top` are not distinguishable from the best.

# %%
table.rows[["rank", "top", "variant", "seeds", "val_acc", "interval", "test_acc", "parameters"]]

# %%
figure_of(frames, search, "parameters")

# %% [markdown]
# ## A pair, and what may be said of it
#
# `compare` pools the spread of all variants of the search, corrects for the number of pairs, and ends in a sentence.

# %%
first, *others = table.rows["variant"]
found = compare(frames, [first, *others], search=search)
for pair in found.pairs:
    print("-", pair.claim)
for note in found.notes:
    print("-", note)

# %% [markdown]
# ## Where the seeds disagree
#
# The spread over seeds, in points of accuracy. A difference between two means of n seeds has a standard error of about
# `deviation * sqrt(2 / n)`: this is how many seeds it would take to make that a quarter of a point.

# %%
deviation = 100 * by_seed.std(axis="columns").mean()
pd.Series(
    {
        "deviation over seeds (points)": deviation,
        "standard error of a difference now": deviation * (2 / by_seed.shape[1]) ** 0.5,
        "seeds for a standard error of 0.25": 2 * (deviation / 0.25) ** 2,
    }
)
