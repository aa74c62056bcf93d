"""Widths that make feed-forward parts equally large: found where brute force finds any, and what comes of them."""

import dataclasses
import io
import itertools
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from arch_space.model import ModelConfig
from arch_space.registry import FFN
from results.errors import InputError
from results.frames import load
from results.rows import EpochRow
from results.show import app as show_app
from results.store import Store
from results.table import variants
from search import catalog, measured
from search.experiment import Experiment, comparison_plan
from search.match import MEASURES, Match, fit, size_of
from search.matching import Matching, show, solve
from search.prepare import check_new, experiment_of, prepare_new, prepare_resume
from search.resources import plan_resources
from search.run import app
from trainer.config import TrialConfig
from trainer.dataset import read_header
from trainer.resolve import resolve

SMALL = {"dim": 12, "depth": 2, "heads": 1, "patch": 16}
LATTICE = (60, 90)
"""Values of the coarse and of the fine width that brute force tries."""
TRIED = {  # whose widths have the same few values for every measure below
    "mlp": {},
    "glu": {},
    "fff": {"ffn.fff.depth": 2},
    "fff_fanout": {"ffn.fff_fanout.fanout": 3, "ffn.fff_fanout.depth": 1},
    "fff_soft": {"ffn.fff_soft.depth": 2},
}
TARGETS = (0.3, 1, 2.7, 5.1, 9.3, 14.77)
"""In sizes of the variant with its smallest widths."""
DIGITS = {"data": "digits", "batch_size": 128, "patch": 16, "dim": 16, "depth": 1, "heads": 1, "epochs": 1,
          "warmup_epochs": 0.0}  # fmt: skip
DENSE = {"ffn": "mlp", "ffn.mlp.hidden": 24}


@pytest.fixture
def header(digits):
    return read_header("digits")


def model_of(kind, **keys):
    return ModelConfig.from_flat({**SMALL, "ffn": kind, **keys})


def with_widths(model, widths):
    """The model with other widths; none where its kind refuses them."""
    try:
        return replace(model, ffn=dataclasses.replace(model.ffn, **widths))
    except ValueError:
        return None


def sizes_by_trying(model, measure):
    """The sizes of all widths of the lattice."""
    names = model.ffn.widths
    sizes = set()
    for values in itertools.product(*(range(end) for end in LATTICE[: len(names)])):
        changed = with_widths(model, dict(zip(names, values, strict=True)))
        if changed is not None:
            sizes.add(size_of(changed, measure))
    return sizes


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("layout", ["single", "pair"])
@pytest.mark.parametrize("kind", TRIED)
def test_a_target_is_met_wherever_trying_all_widths_meets_it_and_else_missed_by_as_little(kind, layout, measure):
    model = model_of(kind, layout=layout, **TRIED[kind])
    sizes = sizes_by_trying(model, measure)
    for target in (round(factor * min(sizes)) + offset for factor in TARGETS for offset in (1, 2)):
        assert max(sizes) > target, "the lattice reaches beyond the target"
        found = fit(model, model.ffn.widths, measure, target, 0.01)
        solved = with_widths(model, found.widths)
        assert size_of(solved, measure) == found.size
        assert found.deviation == pytest.approx(found.size / target - 1)
        nearest = min(abs(size / target - 1) for size in sizes)
        if nearest <= 0.01:
            assert abs(found.deviation) <= 0.01, f"{measure} = {target}"
        else:
            assert abs(found.deviation) == pytest.approx(nearest), f"{measure} = {target}"


@pytest.mark.parametrize("kind", FFN.kinds())
def test_every_kind_can_have_the_parameters_of_the_default_dense_layer(kind):
    model = ModelConfig.from_flat({"ffn": kind, **({"ffn.fff_fanout.depth": 2} if kind == "fff_fanout" else {})})
    found = fit(model, model.ffn.widths, "parameters", 262_912, 0.01)
    assert abs(found.deviation) <= 0.01
    solved = with_widths(model, found.widths)
    built = ModelConfig.from_flat({**solved.to_flat(), "depth": 1, "heads": 1})
    inside = sum(parameter.numel() for parameter in built.ffn.build(512, 0.0).parameters())
    assert inside == found.size


def test_sizes_are_of_the_feed_forward_part_alone_as_the_issue_counts_it():
    single = ModelConfig.from_flat({"ffn": "mlp", "ffn.mlp.hidden": 256})
    pair = ModelConfig.from_flat({"ffn": "mlp", "ffn.mlp.hidden": 128, "layout": "pair"})
    tree = ModelConfig.from_flat({"ffn": "fff", "ffn.fff.depth": 7})
    assert [size_of(model, "parameters") for model in (single, pair, tree)] == [262_912, 263_424, 261_375]
    assert [size_of(model, "neurons_used") for model in (single, pair, tree)] == [256, 256, 8]
    assert size_of(single, "macs") == size_of(single, "macs_conditional") == 4 * 65 * 2 * 512 * 256
    assert size_of(tree, "macs") == 4 * 65 * 2 * 512 * 255
    assert size_of(tree, "macs_conditional") == 4 * 65 * 2 * 512 * 8


def test_whole_trees_come_first_and_dense_rows_fill_what_they_leave_open():
    tree = ModelConfig.from_flat({"ffn": "fff", "ffn.fff.depth": 5})
    # 4 trees have 258,300 parameters, 1.75 % too few; a row has 1,024
    assert fit(tree, ("trees", "dense_rows"), "parameters", 262_912, 0.01).widths == {"trees": 4, "dense_rows": 5}
    assert fit(tree, ("trees", "dense_rows"), "parameters", 258_300, 0.01).widths == {"trees": 4}
    assert fit(tree, ("dense_rows",), "parameters", 262_912, 0.01).widths == {"dense_rows": 194}
    too_deep = ModelConfig.from_flat({"ffn": "fff", "ffn.fff.depth": 8})
    missed = fit(too_deep, ("trees", "dense_rows"), "parameters", 262_912, 0.01)
    assert (missed.widths, missed.size) == ({"trees": 1}, 523_775)


def test_a_width_of_which_only_the_logarithm_counts_is_left_as_it_is():
    flat = ModelConfig.from_flat({"ffn": "flat", "ffn.flat.hidden": 256})
    found = fit(flat, flat.ffn.widths, "neurons_used", 32, 0.01)
    assert (found.widths, found.size) == ({"dense_rows": 15}, 32), "not a hidden width of 2^23"


def comparison(*grid, **changes):
    values = {"name": "equal", "question": "?", "base": DIGITS, "grid": list(grid),
              "match": Match(measure="parameters", target=DENSE), **changes}  # fmt: skip
    return Experiment(**values)


def test_a_reference_is_measured_in_the_experiment_s_own_model(header):
    for fixed, parameters in (({}, 2 * 16 * 24 + 24 + 16), ({"dim": "32"}, 2 * 32 * 24 + 24 + 32)):
        solved, (matching,) = solve(comparison({"ffn": "mlp"}).with_fixed(fixed), header, on_gpu=False)
        assert matching.target == parameters
        assert solved.grid == [{"ffn": "mlp", "ffn.mlp.hidden": 24}]
    pair = {**DENSE, "layout": "pair"}
    match = Match(measure="parameters", target=pair)
    solved, _ = solve(comparison({"ffn": "mlp"}, match=match), header, on_gpu=False)
    assert solved.grid == [{"ffn": "mlp", "ffn.mlp.hidden": 48}]


def test_every_trial_of_a_solved_experiment_has_the_target_s_size(header):
    grid = [{"ffn": kind, **keys} for kind, keys in TRIED.items()]
    for measure in MEASURES:
        match = Match(measure=measure, target=DENSE)
        solved, (matching,) = solve(comparison(*grid, match=match), header, on_gpu=False)
        assert len(solved.grid) == sum(each.met for each in matching.variants) >= 3
        for flat in comparison_plan(solved):
            model = TrialConfig.from_flat({**flat, "image_size": 32}).model
            assert size_of(model, measure) == pytest.approx(matching.target, rel=0.01)


def test_widths_that_the_grid_the_base_or_set_give_stay(header):
    tree = {"ffn": "fff", "ffn.fff.depth": 1}
    given = {**tree, "ffn.fff.trees": 2}
    by_grid, _ = solve(comparison(given), header, on_gpu=False)
    by_base, _ = solve(comparison(tree, base={**DIGITS, "ffn.fff.trees": 2}), header, on_gpu=False)
    by_set, _ = solve(comparison(tree).with_fixed({"ffn.fff.trees": "2"}), header, on_gpu=False)
    rows = round((808 - 6 * 33) / 32)
    assert by_grid.grid == [{**given, "ffn.fff.dense_rows": rows}]
    assert by_base.grid == by_set.grid == [{**tree, "ffn.fff.dense_rows": rows}]
    fits, misses = {"ffn": "mlp", "ffn.mlp.hidden": 24}, {"ffn": "mlp", "ffn.mlp.hidden": 25}
    solved, (matching,) = solve(comparison(fits, misses), header, on_gpu=False)
    assert solved.grid == [fits], "all widths given: as it is, or not at all"
    assert [each.met for each in matching.variants] == [True, False]


def test_what_cannot_meet_the_match_is_left_out_and_said_with_its_nearest_miss(header):
    grid = [{"ffn": "mlp"}, {"ffn": "fff", "ffn.fff.depth": 6}]
    solved, matchings = solve(comparison(*grid), header, on_gpu=False)
    assert solved.grid == [{"ffn": "mlp", "ffn.mlp.hidden": 24}]
    printed = shown(matchings)
    assert "matched: parameters of the feed-forward part = 808 within 1 %, as mlp hidden=24" in printed
    assert re.search(r"mlp +hidden=24 +808 +\+0\.00 %", printed)
    assert "left out: fff depth=6 with trees=1 comes to 4,191 (+419 %)" in printed


def test_a_kind_that_does_not_define_the_measure_is_left_out(header):
    match = Match(measure="neurons_used", target=24)
    solved, matchings = solve(comparison({"ffn": "csc"}, {"ffn": "mlp"}, match=match), header, on_gpu=False)
    assert solved.grid == [DENSE]
    assert "left out: csc: its kind has no neurons_used" in shown(matchings)
    with pytest.raises(InputError, match=r"neurons used .* = 24 within 1 %; the nearest is csc: its kind has no"):
        solve(comparison({"ffn": "csc"}, match=match), header, on_gpu=False)
    reference = Match(measure="neurons_used", target={"ffn": "csc"})
    with pytest.raises(InputError, match=r"reference of a match must have neurons used .*, but csc has none"):
        solve(comparison({"ffn": "mlp"}, match=reference), header, on_gpu=False)


def test_what_meets_several_matches_is_trained_once(header):
    matches = [Match(measure=measure, target=DENSE) for measure in ("parameters", "neurons_used")]
    grid = [{"ffn": "mlp"}, {"ffn": "fff", "ffn.fff.depth": 1}]
    solved, matchings = solve(comparison(*grid, match=matches), header, on_gpu=False)
    assert len(solved.grid) == 3
    assert matchings[0].variants[0].variant == matchings[1].variants[0].variant
    again, _ = solve(solved, header, on_gpu=False, known=matchings)
    assert again.grid == solved.grid


def shown(matchings):
    text = io.StringIO()
    show(matchings, Console(width=160, file=text))
    return text.getvalue()


EQUAL = f'''\
from search.experiment import Experiment
from search.match import Match


def equal() -> Experiment:
    """Which of some tiny feed-forward parts of equal size reads digits best?"""
    matches = [Match(measure=measure, target={DENSE}) for measure in ("parameters", "neurons_used")]
    grid = [{{"ffn": "mlp"}}, {{"ffn": "fff", "ffn.fff.depth": 1}}, {{"ffn": "fff", "ffn.fff.depth": 6}}]
    return Experiment(base={DIGITS}, grid=grid, match=matches, seeds=(0, 1), threads=1)
'''


@pytest.fixture
def place(tmp_path, header, monkeypatch):
    """A folder with an experiment of two matches, and its store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "equal.py").write_text(EQUAL)
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as store:
        yield SimpleNamespace(folder=tmp_path, file=tmp_path / "equal.py", store=store)


def begun(place):
    """The experiment's search, put into the store."""
    resources = plan_resources(concurrency=1, cpus_per_trial=1, gpus_per_trial=0, threads=1)
    checked = check_new(str(place.file), catalog.load(str(place.file)), resources)
    return prepare_new(place.store, checked, notes="", tags=(), variants=()), resources


def resumed(place, search_id, resources):
    row = place.store.search(search_id)
    place.store.update_search(search_id, status="interrupted")
    experiment = experiment_of(row.settings, row.experiment)
    return prepare_resume(place.store, search_id, experiment, resources, variants=())


def test_a_search_that_goes_on_keeps_its_widths_and_targets_and_solves_those_of_new_variants(place):
    prepared, resources = begun(place)
    again = resumed(place, prepared.search_id, resources)
    assert again.experiment.grid == prepared.experiment.grid
    assert again.matchings == prepared.matchings
    wider = EQUAL.replace("'ffn.mlp.hidden': 24", "'ffn.mlp.hidden': 48")  # the reference in the file has changed since
    place.file.write_text(wider.replace('{"ffn": "mlp"},', '{"ffn": "mlp"}, {"ffn": "glu"},'))
    grown = resumed(place, prepared.search_id, resources)
    assert grown.experiment.grid[: len(prepared.experiment.grid)] == prepared.experiment.grid
    assert grown.experiment.grid[len(prepared.experiment.grid) :] == [
        {"ffn": "glu", "ffn.glu.hidden": 17},  # 3 x 16 x 17 = 816 for 808
        {"ffn": "glu", "ffn.glu.hidden": 24},
    ]
    assert [matching.target for matching in grown.matchings] == [808, 24]
    stored = place.store.search(prepared.search_id).settings["match"]
    assert [Matching.from_plain(plain) for plain in json.loads(json.dumps(stored))] == list(grown.matchings)


def test_the_table_ranks_each_match_for_itself_and_says_what_was_left_out(place, header):
    prepared, _ = begun(place)
    for number, flat in enumerate(comparison_plan(prepared.experiment)):
        config = resolve(flat, on_gpu=False, header=header).to_flat()
        accuracy = 0.9 if config["ffn"] == "mlp" else 0.5 + number / 100
        record(place.store, prepared.search_id, config, accuracy)
    table = variants(load(place.store.url), prepared.search_id)
    assert [row["match"] for row in table.rows.to_dict("records")] == [
        "parameters = 808", "parameters = 808", "neurons_used = 24", "neurons_used = 24", "neurons_used = 24",
    ]  # fmt: skip
    assert list(table.rows["group"]) == [1, 1, 2, 2, 2]
    assert list(table.rows["rank"]) == [1, 2, 1, 2, 3]
    assert table.rows["variant"].iloc[0] == table.rows["variant"].iloc[2], "the dense layer meets both"
    assert table.notes[0] == (
        "Group 1 is matched: parameters of the feed-forward part = 808 within 1 %. "
        "Left out: fff depth=6 with trees=1 comes to 4,191 (+419 %)."
    )
    assert table.notes[1] == "Group 2 is matched: neurons used by the feed-forward part = 24 within 1 %."
    assert "(pooled, 4 degrees of freedom)" in table.notes[2], "what stands in two groups counts once"
    printed = CliRunner().invoke(show_app, [prepared.search_id, "--json", "--storage", place.store.url])
    assert json.loads(printed.stdout)["variants"][0]["match"] == "parameters = 808"


def test_the_preview_shows_the_solved_widths_first(place, monkeypatch):
    monkeypatch.setattr(measured, "MEASURE_SECONDS", 0.5)
    arguments = ["equal.py", "--preview", "--concurrency", "1", "--gpus-per-trial", "0", "--cpus-per-trial", "1"]
    printed = CliRunner().invoke(app, [*arguments, "--storage", place.store.url], catch_exceptions=False).output
    first, second = printed.index("matched: parameters"), printed.index("matched: neurons used")
    assert first < second < printed.index("wall time")
    assert re.search(r"fff depth=1 +trees=5 dense_rows=10 +815 +\+0\.87 %", printed)
    assert "left out: fff depth=6 with trees=1" in printed
    assert "8 (4 variants x 2 seeds)" in printed


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"measure": "params"}, "Unknown measure of a match 'params'; did you mean 'parameters'"),
        ({"target": 0}, '"target" of a match must be above 0, but got 0'),
        ({"target": -3.5}, '"target" of a match must be above 0, but got -3.5'),
        ({"target": float("nan")}, '"target" of a match must be above 0, but got nan'),
        ({"target": "many"}, "must be a number or the keys of a variant, but got 'many'"),
        ({"target": True}, "must be a number or the keys of a variant, but got True"),
        ({"target": {}}, "must be a number or the keys of a variant, but got no key"),
        ({"tolerance": 1}, '"tolerance" of a match must be from 0 to below 1, but got 1'),
        ({"tolerance": -0.1}, '"tolerance" of a match must be from 0 to below 1, but got -0.1'),
    ],
)
def test_a_match_that_means_nothing_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        Match(**{"measure": "parameters", "target": 100, **changes})


def test_a_match_belongs_to_a_comparison():
    match = Match(measure="parameters", target=100)
    with pytest.raises(InputError, match='"match" solves the widths of given variants, so it needs a "grid"'):
        Experiment(space=lambda scope: {}, match=match)
    for wrong in ("parameters", [match, "macs"], 100):
        with pytest.raises(InputError, match=r"must be a Match\(measure=\.\.\., target=\.\.\.\) or a list of them"):
            Experiment(grid=[{}], match=wrong)


def record(store, search_id, config, accuracy):
    """A trial of this configuration that ended in its only epoch."""
    name = store.add_trial(
        search_id, len(store.trials(search_id)) + 1, config, parameters=1, neurons_used=1, macs=1, macs_conditional=1
    )
    row = EpochRow(
        epoch=1, train_loss=1.0, val_loss=1.0, val_acc=accuracy, lr=1e-3,
        train_seconds=1.0, val_seconds=0.1, images_per_second=10.0,
    )  # fmt: skip
    store.commit_report(name, row, None, status="finished", wall_seconds=1.0, gpu_seconds=0.0)


def test_an_experiment_s_matches_are_shown_before_it_is_run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = CliRunner().invoke(app, ["--show", "matched"], catch_exceptions=False).output
    assert "matched: parameters of the feed-forward part = that of mlp hidden=256 within 1 %" in printed
    assert "matched: neurons used by the feed-forward part = that of mlp hidden=24 within 1 %" in printed


def test_variants_that_are_shown_have_the_kind_of_the_base(tmp_path):
    (tmp_path / "trees.py").write_text(
        "from search.experiment import Experiment\n\n\ndef trees() -> Experiment:\n"
        '    """Which depth?"""\n'
        '    return Experiment(base={"ffn": "fff"}, grid=[{"ffn.fff.depth": 3}, {"ffn": "mlp", "ffn.mlp.hidden": 8}])\n'
    )
    printed = CliRunner().invoke(app, ["--show", str(tmp_path / "trees.py")], catch_exceptions=False).output
    assert [line for line in printed.splitlines() if line.startswith("variant")] == [
        "variant  fff depth=3",
        "variant  mlp hidden=8",
    ]
