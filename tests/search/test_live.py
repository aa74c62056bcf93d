"""What a person sees while a search runs; what a trial's code raised, or somebody else wrote, is shown as text."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from results.store import Store
from results.text import keys_text
from search import catalog
from search.experiment import Experiment
from search.live import LiveView, telling_keys
from search.session import Session
from trainer.dataset import read_header

HOSTILE = "=1\x1b]0;owned\x07\x1b[2J\x9b31m[red]x[/red][/]"
TOY = Experiment(
    name="toy", question="?", base={"data": "digits", "epochs": 3, "batch_size": 64}, grid=[{"ffn": "mlp"}], seeds=(0,)
)


@pytest.mark.parametrize("terminal", [False, True])
def test_no_control_character_of_a_cause_or_a_note_reaches_the_terminal(digits, tmp_path, terminal):
    file = io.StringIO()
    console = Console(file=file, width=200, color_system=None)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        name = store.create_search("toy", "?", {}, {})
        session = Session(
            store, name, TOY, folder=tmp_path, header=read_header("digits"), concurrency=1, gpus_per_trial=0,
            startup_trials=1,
        )  # fmt: skip
        view = LiveView(session, console)
        session.on_event, session.on_note = view.event, view.note
        trial = session.next_trial()
        session.lose(trial.trial_id, HOSTILE)
        session.fail(trial.trial_id, HOSTILE)
        if terminal:
            console.print(view.render())
    said = file.getvalue()
    assert said.count("[red]x[/red]") == 2, "as it stands, once in the note and once as the cause"
    assert not [character for character in said if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        (
            "quickstart",
            {"ffn": "fff", "ffn.fff.depth": 3, "ffn.fff.trees": 2, "ffn.fff.level_lr_ratio": 1.0, "layout": "single",
             "lr": 0.00213, "dim": 64},
            "fff depth=3 trees=2 single lr=0.00213",
        ),
        ("quickstart", {"ffn": "mlp", "ffn.mlp.hidden": 15, "ffn.mlp.activation": "gelu", "layout": "pair", "lr": 0.001},
         "mlp hidden=15 pair lr=0.001"),
        ("dense_sizes", {"ffn": "mlp", "ffn.mlp.hidden": 15, "ffn.mlp.activation": "gelu", "lr": 0.001}, "hidden=15"),
    ],
)  # fmt: skip
def test_a_trial_is_told_by_what_was_sampled_or_differs_and_by_no_default(name, config, words):
    assert keys_text({**config, "variant": "0" * 10}, telling_keys(catalog.find(name))) == words


def test_a_rate_that_is_tuned_for_each_variant_is_told():
    comparison = replace(catalog.find("dense_sizes"), tune_lr=(0.5, 1.0))
    assert telling_keys(comparison)[-1] == "lr"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_search_that_starts_says_so_before_anything_is_reported(tmp_path, digits, terminal):
    experiment = catalog.load("quickstart")
    said = io.StringIO()
    console = Console(file=said, force_terminal=terminal, width=140)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        session = Session(
            store, store.create_search("quickstart", "?", {}, {}), experiment, folder=tmp_path,
            header=read_header("digits"), concurrency=2, gpus_per_trial=0, startup_trials=4,
        )  # fmt: skip
        view = LiveView(session, console)
        with view:
            assert terminal or "starting Ray and 2 workers" in said.getvalue()
            if terminal:
                console.print(view.render())
                assert "starting Ray and 2 workers" in said.getvalue()
            view.ray_is_up()
            if terminal:
                console.print(view.render())
            assert "its workers load torch" in said.getvalue()
