"""Every experiment of the feed-forward space, for one epoch on the digits: real session, store and trials, no Ray."""

import gc
import math
from dataclasses import replace

import pytest
import torch

from results.frames import load
from results.store import Store
from results.table import variants
from search import catalog
from search.prepare import Overrides, check_new, prepare_new
from search.resources import plan_resources
from search.session import Session
from trainer.config import TrialConfig
from trainer.resolve import cached_dataset
from trainer.trial import Trial

SPACE = (
    "csc", "dense_rows", "dense_sizes", "fff_depth", "fff_fanout", "flat", "ideas", "level_rates", "matched", "pairs",
    "rate_screen", "search_all", "soft_vs_hard", "tree_or_dense",
)  # fmt: skip
MOST = 6
"""Variants that are trained; all of a comparison are resolved."""
TINY = {
    "data": "digits", "patch": 16, "dim": 16, "depth": 1, "heads": 1, "batch_size": 256, "epochs": 1, "warmup_epochs": 0,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _imported_for_good():
    """A trial collects garbage when it ends: what is imported by now need not be searched each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACE)
def test_an_experiment_trains_on_the_digits_at_a_tiny_horizon(name, tmp_path, digits):
    experiment = catalog.load(name)
    budget = {"seeds": (0,)} if experiment.is_comparison else {"trials": MOST, "grace": 1}
    overrides = Overrides(fixed={key: str(value) for key, value in TINY.items()}, **budget)
    resources = plan_resources(concurrency=1, cpus_per_trial=1, gpus_per_trial=0, threads=1)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        checked = spread(check_new(name, overrides.apply(experiment), resources))
        prepared = prepare_new(store, checked, notes="", tags=(), variants=())
        session = Session(
            store, prepared.search_id, prepared.experiment, folder=prepared.folder, header=prepared.header,
            concurrency=1, gpus_per_trial=0, startup_trials=prepared.startup_trials,
        )  # fmt: skip
        while (assignment := session.next_trial()) is not None:
            train(session, assignment)
        assert session.close() == "ended"
        rows = store.trials(prepared.search_id)
        assert {row.status for row in rows} == {"finished"}
        assert all(math.isfinite(row.val_loss) and row.test_acc is not None for row in rows)
        table = variants(load(store.url), prepared.search_id)
        each = 1 + len(checked.experiment.tune_lr)
        assert len(rows) == each * len(checked.experiment.grid or range(MOST))
        assert table.rows["rank"].notna().all()


def spread(checked):
    """A comparison with its first variant, its last, and some between."""
    grid = checked.experiment.grid
    if grid is None:
        return checked
    places = sorted({round(step * (len(grid) - 1) / (MOST - 1)) for step in range(MOST)})
    return replace(checked, experiment=replace(checked.experiment, grid=[grid[place] for place in places]))


def train(session, assignment):
    """What a worker does with a trial, in this process."""
    trial = Trial(
        TrialConfig.from_flat(assignment.flat), assignment.folder,
        device=torch.device("cpu"), threads=1, dataset=cached_dataset("digits"),
    )  # fmt: skip
    for report in trial.reports():
        if session.report(assignment.trial_id, report, {}):
            break
    trial.close()
