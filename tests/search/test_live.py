"""The live view: what a trial's code raised, or somebody else wrote, is shown as text."""

import io

import pytest
from rich.console import Console

from results.store import Store
from search.experiment import Experiment
from search.live import LiveView, variant_text
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
        session.lose(trial.trial_id, HOSTILE, retried=True)
        session.fail(trial.trial_id, HOSTILE)
        if terminal:
            console.print(view.render())
    said = file.getvalue()
    assert said.count("[red]x[/red]") == 2, "as it stands, once in the note and once as the cause"
    assert not [character for character in said if character != "\n" and not character.isprintable()]


def test_a_variant_in_words_has_no_control_characters():
    config = {"ffn": f"a{HOSTILE}", f"ffn.a{HOSTILE}.hidden": HOSTILE, "lr": 1e-3, "layout": "pair"}
    assert variant_text(config).isprintable()
    assert "[red]x[/red]" in variant_text(config)
