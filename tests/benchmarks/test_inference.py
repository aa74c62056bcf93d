"""The inference benchmark works on small sizes; how fast things are is not asked here."""

import copy
import json
import math

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from benchmarks.inference import (
    NOT_JUDGED,
    app,
    batches_of,
    conditional,
    differing_paths,
    equal_layers,
    figures,
    of_kinds,
    verdict,
)
from benchmarks.subjects import Subject, conditional_kinds, of_trial, trained_on_digits, untrained
from results.errors import InputError
from search import catalog
from trainer.single import train_single
from trainer.timing import Spread, cores

SMALL = {"dim": 8, "depth": 2, "heads": 1, "patch": 16}
PAIRS = [f"{key}={value}" for key, value in SMALL.items()]
CPU = torch.device("cpu")


@pytest.fixture
def fff():
    return untrained("fff", {**SMALL, "ffn.fff.depth": 3})


def test_every_kind_with_a_conditional_form_is_timed_and_no_other():
    kinds = conditional_kinds()
    assert "fff" in kinds
    assert "mlp" not in kinds
    with pytest.raises(InputError, match=r"'mlp' has none; known: .*fff"):
        untrained("mlp", SMALL)


@pytest.mark.parametrize("kind", conditional_kinds())
def test_the_whole_model_computes_the_same_in_both_forms(kind):
    model = untrained(kind, SMALL).model.double()
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    dense = model(images)
    visited = []
    both = conditional(copy.deepcopy(model))
    for module in both.modules():
        if hasattr(module, "forward_conditional"):
            form = module.forward_conditional
            module.forward = lambda x, form=form: visited.append(1) or form(x)
    torch.testing.assert_close(both(images), dense)
    assert len(visited) == 2, "one feed-forward in each of two blocks"


@pytest.mark.parametrize("kind", conditional_kinds())
def test_figures_are_finite_and_say_what_they_are_of(kind):
    subject = untrained(kind, SMALL)
    rows = list(figures(subject, sizes=(1, 3), seconds=0.01, threads=(1,), hidden=(5, 9)))
    timed = [row for row in rows if "share" not in row and row["device"] == "cpu"]
    others = [*equal_layers(subject), "mlp hidden=5", "mlp hidden=9", "dense"]
    places = {(row["part"], row["threads"], row["tokens"]) for row in timed}
    assert places == {("feed-forward", 1, 1), ("feed-forward", 1, 3), ("model", 1, 5)}
    assert len(timed) == (len(others) + 1) * len(places)
    for row in timed:
        assert 0 < row["microseconds"] < math.inf
        assert 0 <= row["iqr"] < math.inf
        assert row["weights"] == "start"
    judged = [row for row in timed if "verdict" in row]
    assert [row["what"] for row in judged] == [f"{kind}: conditional"] * len(places)
    for row in judged:
        assert all(0 < row[f"x {other}"] < math.inf for other in others)
        assert row["verdict"].startswith(NOT_JUDGED) or any(
            word in row["verdict"] for word in ("loses", "level", "wins")
        )
    shares = [row["share"] for row in rows if "share" in row]
    assert all(0 <= share <= 1 for share in shares)


def test_the_dense_layers_have_as_many_parameters_and_as_many_neurons(fff):
    layers = equal_layers(fff)
    wanted, dim = fff.config.ffn.parameters(8), 8
    assert abs(layers["equal parameters"].parameters(dim) - wanted) <= (2 * dim + 1) / 2
    assert layers["equal neurons"].hidden == 4  # of a path of depth 3


def test_the_study_of_a_tree_has_the_dense_layers_of_its_parameters_and_of_its_neurons():
    tree, *dense = catalog.load("tree_or_dense").grid
    layers = equal_layers(untrained("fff", {key: value for key, value in tree.items() if key.startswith("ffn.")}))
    widths = [variant["ffn.mlp.hidden"] for variant in dense]
    assert widths[:2] == [layers["equal parameters"].hidden, layers["equal neurons"].hidden]


def test_a_verdict_says_when_conditional_loses():
    def spread(*seconds):
        return Spread(seconds=seconds, cpu_share=1.0)

    spreads = {"equal parameters": spread(3, 3), "equal neurons": spread(1, 1), "dense": spread(1.5, 2.5),
               "conditional": spread(2, 2)}  # fmt: skip
    assert verdict(spreads) == "loses to equal neurons; level with dense; wins against equal parameters"


class Halves(nn.Module):
    """One tree of one choice: right where x_0 > 1."""

    def leaves(self, x):
        return (x[..., :1] > 1).long()


def test_the_share_of_differing_paths_counts_tokens_that_rounding_turns():
    # bfloat16 has 8 bits of significand: 1.003 becomes 1, while 1.5 and 0.5 stay
    tokens = torch.tensor([[1.003], [1.5], [0.5], [1.001]])
    assert differing_paths(Halves(), tokens) == 0.5
    assert differing_paths(nn.Identity(), tokens) is None


def test_batches_hold_no_token_twice_and_never_more_than_the_images_have(fff):
    tokens = torch.arange(20.0)[:, None] * torch.ones(8)
    subject = Subject(model=fff.model, config=fff.config, weights="x", tokens=tokens)
    sizes = []
    for batches in batches_of(subject, (1, 4, 100, 1000), CPU, torch.float64):
        together = torch.cat(batches)
        assert together.dtype == torch.float64
        assert len(together.unique(dim=0)) == len(together)
        assert len(batches) >= 2
        sizes.append(len(batches[0]))
    assert sizes == [1, 4, 10]


def test_all_kinds_are_timed_or_the_one_that_is_named():
    def names(changes):
        return list(
            dict.fromkeys(
                row["what"].split(":")[0] for row in of_kinds(changes, sizes=(2,), seconds=0.002, threads=(1,))
            )
        )

    assert names({**SMALL, "ffn": "fff", "ffn.fff.depth": 2}) == ["fff depth=2"]
    assert names({**SMALL, "ffn.fff.depth": 2}) == [
        "fff depth=2" if kind == "fff" else kind for kind in conditional_kinds()
    ]


def test_the_command_prints_and_writes_what_it_timed(tmp_path):
    file = tmp_path / "rows.json"
    arguments = ["ffn=fff", "ffn.fff.depth=2", *PAIRS, "--tokens", "1,2", "--seconds", "0.01", "--json", str(file)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "fff depth=2: weights start; tokens N(0, 1), every one another." in done.output
    assert "cpu, 1 thread(s), 2 token(s)" in done.output
    rows = json.loads(file.read_text())
    assert sum(row["what"] == "fff depth=2: conditional" and "verdict" in row for row in rows) >= 3 * len({1, cores()})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ffn=ffff"], "fff"),
        (["ffn.fff.dept=3"], "did you mean 'ffn.fff.depth'"),
        (["dimm=3"], "did you mean 'dim'"),
        (["ffn=mlp"], "'mlp' has none"),
        (["--tokens", "1,x"], '"--tokens" must be numbers from 1'),
        (["--tokens", "0"], '"--tokens" must be numbers from 1'),
        (["--hidden", "0"], '"--hidden" must be numbers from 1'),
        (["--seconds", "0"], '"--seconds" must be above 0'),
        (["--digits", "0"], '"--digits" must be at least 1 epoch, but got 0'),
        (["--trial", "no.pt"], "There is no checkpoint file"),
        (["--trial", "no.pt", "dim=3"], "neither KEY=VALUE nor --digits"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.slow
def test_trained_weights_come_with_the_tokens_of_their_own_images(tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    keys = [*PAIRS, "data=digits", "ffn=fff", "ffn.fff.depth=2", "epochs=1", "batch_size=128"]
    assert train_single(keys, reset=False, threads=1, variants=(), storage="sqlite:///runs/arbor.db") == 0
    named = of_trial("single-1.1", "sqlite:///runs/arbor.db")
    short = trained_on_digits("fff", {**SMALL, "ffn.fff.depth": 2, "batch_size": 128}, 1)
    for subject, weights in ((named, "single-1.1"), (short, "1 epochs of digits")):
        assert subject.weights == weights
        assert subject.name == "fff depth=2"
        assert len(subject.images) == len(digits.val)
        assert subject.tokens.shape == (len(digits.val) * 5, 8)
        assert len(subject.tokens.unique(dim=0)) == len(subject.tokens)
        started = untrained("fff", subject.config.to_flat()).model.state_dict()
        assert any(not torch.equal(value, started[name]) for name, value in subject.model.state_dict().items())
    rows = list(figures(named, sizes=(1,), seconds=0.01, threads=(1,)))
    assert {row["weights"] for row in rows} == {"single-1.1", "start"}
