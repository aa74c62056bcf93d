"""Importances of the keys of a recorded search: which trials count, what is found, drawn and refused."""

import re
import sys

import pandas as pd
import pytest
from matplotlib.figure import Figure

from results.cli import run
from results.plots.importance import importance_bars
from results.rows import EpochRow
from results.store import Store
from search import importance
from search.export_study import frozen_trials
from search.importance import importances


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def add(store, search, accuracy, *, status="finished", ffn="mlp", provenance=None, **config):
    number = len(store.trials(search)) + 1
    name = store.add_trial(
        search, number, {"ffn": ffn, "seed": number, **config}, parameters=1, neurons_used=1, macs=1, macs_conditional=1
    )
    row = EpochRow(
        epoch=1, train_loss=1.0, val_loss=1.0, val_acc=accuracy, lr=1e-3, train_seconds=1.0, val_seconds=0.1,
        images_per_second=10.0,
    )  # fmt: skip
    store.commit_report(name, row, None, status=status)
    if provenance:
        store.update_trial(name, provenance=provenance)


@pytest.fixture
def recorded(store):
    """`hidden` of mlp decides its accuracy, `lr` next to nothing; a tree is always a little better."""
    search = store.create_search("toy", "Which key matters?", {"grid": None}, {})
    for place in range(24):
        lr = (1e-3, 2e-3, 4e-3)[place % 3]
        add(store, search, 0.5 + 0.02 * (place % 8) + lr, lr=lr, **{"ffn.mlp.hidden": 8 * (1 + place % 8)})
    for place in range(6):
        lr = (1e-3, 2e-3, 4e-3)[place % 3]
        add(store, search, 0.8 + lr, ffn="fff", lr=lr, **{"ffn.fff.depth": 3})
    add(store, search, 0.0, status="stopped", lr=0.5, **{"ffn.mlp.hidden": 4096})
    return search


def shares_of(store, search):
    trials = store.trials(search)
    return importances(search, frozen_trials(trials, {}), {trial.id: trial.config["ffn"] for trial in trials})


def test_keys_are_judged_among_the_trials_that_have_them_and_the_deciding_one_stands_out(store, recorded):
    shares = shares_of(store, recorded)
    assert {scope: (list(part["key"]), part["trials"].iloc[0]) for scope, part in shares.groupby("scope")} == {
        "all kinds": (["ffn", "lr"], 30), "mlp": (["lr", "ffn.mlp.hidden"], 24),
    }, "a lone key of fff would have the whole"  # fmt: skip
    of_mlp = shares[shares["scope"] == "mlp"].set_index("key")
    for method in ("ped_anova", "fanova"):
        assert of_mlp[method].sum() == pytest.approx(1)
        assert of_mlp.loc["ffn.mlp.hidden", method] > 0.6
    assert shares.set_index(["scope", "key"]).loc[("all kinds", "ffn"), "fanova"] > 0.8


@pytest.mark.parametrize(
    ("trials", "sentence"),
    [
        (
            [],
            "need 4 trials that ran to their end, but toy-1 has 0; run a search with more trials, or with --scheduler none",
        ),
        ([{"accuracy": place / 9} for place in range(3)], "need 4 trials that ran to their end, but toy-1 has 3; run"),
        ([{}] * 8, "need two accuracies that differ, but the 8 trials of toy-1 that ran to their end have one; train"),
        (
            [{"accuracy": place / 9, "ffn.mlp.hidden": 8} for place in range(8)],
            "but of those that the 8 trials of toy-1 that ran to their end share only 'lr' does; sample more keys.",
        ),
        (
            [{"accuracy": place / 9, "ffn": ("mlp", "fff")[place % 2], "lr": 1e-3} for place in range(6)],
            "ran to their end share only 'ffn' does; sample more keys, or so many trials that each kind has 4",
        ),
    ],
)
def test_what_is_missing_for_importances_is_named_with_the_mend(store, trials, sentence):
    search = store.create_search("toy", "Which?", {"grid": None}, {})
    for place, trial in enumerate(trials):
        add(store, search, **{"accuracy": 0.5, "lr": 1e-3 * (1 + place), **trial})
    with pytest.raises(ValueError, match=re.escape(sentence)):
        shares_of(store, search)


def test_bars_are_the_shares_and_the_most_important_key_is_on_top():
    shares = pd.DataFrame({"key": ["ffn.fff.depth", "lr"], "ped_anova": [0.25, 0.75], "fanova": [0.1, 0.9]})
    ax = Figure().subplots()
    importance_bars(shares, ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["fff.depth", "lr"]
    widths = [[bar.get_width() for bar in container.patches] for container in ax.containers]
    assert widths == [[0.25, 0.75], [0.1, 0.9]]
    assert ax.containers[0].patches[1].get_y() > ax.containers[0].patches[0].get_y()


def command(store, monkeypatch, capfd, *arguments):
    monkeypatch.setattr(sys, "argv", ["importance", *arguments, "--storage", store.url])
    with pytest.raises(SystemExit) as ended:
        run(importance.app, "python -m search.importance")
    said = capfd.readouterr()
    return ended.value.code, " ".join(said.out.split()), said.err


def test_the_command_prints_shares_draws_them_and_says_that_they_are_uncertain(
    store, recorded, monkeypatch, capfd, tmp_path
):
    code, said, _ = command(store, monkeypatch, capfd, recorded, "-o", str(tmp_path / "bars.png"))
    assert code == 0
    assert "30 of 31 trials ran to their end; the others do not count. Shares" in said
    assert "mlp (24 trials, 2 keys)." in said
    assert "all kinds (" not in said
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"


def test_trials_that_tuned_a_rate_are_passed_over_and_counted(store, recorded, monkeypatch, capfd):
    _, before, _ = command(store, monkeypatch, capfd, recorded)
    for lr in (1e-3, 1e-1):
        add(store, recorded, 0.1, provenance={"lr_tuning": lr}, lr=lr, **{"ffn.mlp.hidden": 8})
    _, after, _ = command(store, monkeypatch, capfd, recorded)
    assert "do not count; 2 trials that tuned a learning rate are passed over. Shares" in after
    assert after.replace("; 2 trials that tuned a learning rate are passed over", "") == before


def test_a_search_that_has_but_tuned_is_refused_with_their_number(store, monkeypatch, capfd):
    search = store.create_search("toy", "Which?", {"grid": [{}]}, {})
    for place in range(8):
        lr = 1e-3 * (1 + place)
        add(store, search, place / 10, provenance={"lr_tuning": lr}, lr=lr, **{"ffn.mlp.hidden": 8 + place % 2})
    code, _, error = command(store, monkeypatch, capfd, search)
    assert code == 2
    assert f"but {search} has 0 (8 trials that tuned a learning rate are passed over); run" in error


def test_the_command_refuses_an_unknown_search_and_a_file_that_is_no_picture(store, recorded, monkeypatch, capfd):
    code, _, error = command(store, monkeypatch, capfd, "toy-9")
    assert code == 2
    assert error.startswith("Error: Unknown search 'toy-9'")
    code, _, error = command(store, monkeypatch, capfd, recorded, "-o", "bars.txt")
    assert code == 2
    assert error.startswith("Error: The picture must be a file that ends in .png")
