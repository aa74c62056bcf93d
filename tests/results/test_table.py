"""The honest rules of the table, each with numbers worked by hand."""

import math
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from results.cells import cells
from results.errors import InputError
from results.export import write_latex, write_markdown
from results.frames import load
from results.page.build import _rows
from results.ranks import listed, spans
from results.screen import print_table
from results.selection import of_kinds, searches_with
from results.table import variants
from results.text import keys_text

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def table_of(store, search_id, **options):
    return variants(load(store.url), search_id, **options)


def test_variants_are_ranked_by_the_mean_of_their_last_epoch_over_seeds(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed, (small, large) in enumerate([(0.50, 0.60), (0.52, 0.66)]):
        trial(store, name, [0.9, small], seed=seed, hidden=8, test_acc=small - 0.01)
        trial(store, name, [0.1, large], seed=seed, hidden=16, test_acc=large - 0.01)
    table = table_of(store, name)
    rows = table.rows
    assert list(rows["rank"]) == [1, 2]
    assert list(rows["ffn.mlp.hidden"]) == [16, 8]
    assert list(rows["val_acc"]) == pytest.approx([0.63, 0.51])
    assert rows["deviation"].iloc[0] == pytest.approx(0.06 / math.sqrt(2))
    assert rows["best_val_acc"].iloc[1] == pytest.approx(0.9), "the best epoch is a second column, not the rank"
    assert list(rows["test_acc"]) == pytest.approx([0.62, 0.50])
    assert list(rows["seeds"]) == [2, 2]
    assert table.common["lr"] == 1e-3
    assert table.varying == ["ffn.mlp.hidden"]


def test_what_all_variants_of_a_kind_share_is_said_once_and_not_in_every_row(store):
    name = search(store)
    for hidden in (8, 16):
        trial(store, name, [0.5], hidden=hidden, **{"ffn.mlp.activation": "gelu"})
    trial(store, name, [0.6], ffn="fff", hidden=4, **{"ffn.fff.depth": 3})
    table = table_of(store, name)
    assert table.by_kind == {"ffn.mlp.activation": "gelu"}  # the tree stands alone: its keys tell what it is
    assert table.telling == ["ffn", "ffn.mlp.hidden", "ffn.fff.hidden", "ffn.fff.depth"]
    texts = [cells(row, table)["variant keys"] for row in table.rows.to_dict("records")]
    assert texts == ["fff hidden=4 depth=3", "mlp hidden=8", "mlp hidden=16"]
    assert list(table.rows["ffn.mlp.activation"].dropna()) == ["gelu", "gelu"], "exports keep the column"


def test_of_a_kind_with_one_variant_a_comparison_tells_the_keys_that_its_grid_names(store):
    grid = [{"ffn": "fff", "ffn.fff.depth": 5}, {"ffn": "mlp", "ffn.mlp.hidden": 8}]
    name = search(store, seeds=(0,), scheduler="none")
    values = store.search(name).settings
    store.update_search(name, settings={**values, "grid": grid})
    tree = {"ffn.fff.hidden": None, "ffn.fff.depth": 5, "ffn.fff.dense_rows": 0}
    trial(store, name, [0.5], ffn="fff", **tree)
    trial(store, name, [0.6], hidden=8)
    table = variants(load(store.url), name)
    assert table.by_kind == {"ffn.fff.dense_rows": 0}
    assert keys_text(table.rows.iloc[1].to_dict(), table.telling) == "fff depth=5"
    store.update_search(name, settings={**values, "grid": None})
    assert variants(load(store.url), name).by_kind == {}  # what a search drew tells its variants apart


def test_a_single_variant_is_called_by_what_was_named_of_it(store):
    name = search(store, grid=True, seeds=(0, 1), base={"ffn": "mlp", "ffn.mlp.hidden": 8})
    for seed in (0, 1):
        trial(store, name, [0.5 + 0.01 * seed], seed=seed, **{"ffn.mlp.activation": "gelu"})
    table = variants(load(store.url), name)
    assert keys_text(table.rows.iloc[0].to_dict(), table.telling) == "mlp hidden=8"
    assert table.common["ffn.mlp.activation"] == "gelu"


def test_a_variant_has_a_rank_only_where_all_of_its_planned_seeds_ran_to_the_end(store):
    name = search(store, grid=True, seeds=(0, 1, 2))
    for seed in range(3):
        trial(store, name, [0.5], seed=seed, hidden=8)
    trial(store, name, [0.9], seed=0, hidden=16)
    trial(store, name, [0.9], seed=1, hidden=16)
    trial(store, name, [0.2], status="diverged", seed=2, hidden=16)
    trial(store, name, [0.8], seed=0, hidden=32)
    rows = table_of(store, name).rows
    assert list(rows["ffn.mlp.hidden"]) == [8, 16, 32]
    assert rows["rank"].iloc[0] == 1
    assert rows["rank"].isna().sum() == 2
    assert list(rows["status"]) == [
        "finished", "2 of 3 finished, 1 of 3 diverged", "1 of 3 finished, 2 to come",
    ]  # fmt: skip


def test_survivors_are_not_averaged_and_no_seed_stands_for_the_others(store):
    name = search(store, grid=True, seeds=(0, 1, 2))
    trial(store, name, [0.8], seed=0)
    trial(store, name, [0.9], seed=1)
    trial(store, name, [0.2], status="diverged", seed=2)
    row = table_of(store, name).rows.iloc[0]
    assert row[["val_acc", "best_val_acc", "deviation", "test_acc"]].isna().all()
    assert row["status"] == "2 of 3 finished, 1 of 3 diverged"


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_a_trial_without_an_epoch_is_a_row_without_values(store, status):
    name = search(store)
    trial(store, name, [], status=status)
    row = table_of(store, name).rows.iloc[0]
    assert (row["status"], row["epochs_run"], row["gpu_seconds"], row["parameters"]) == (status, 0, 0.0, 8000)
    assert row[["rank", "val_acc", "best_val_acc"]].isna().all()


def test_one_seed_trained_twice_counts_once_in_the_spread(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed, value in ((0, 0.5), (0, 0.5), (0, 0.5), (1, 0.6)):
        trial(store, name, [value], seed=seed)
    # 0.5 and 0.6 lie 0.1 apart: a deviation of 0.1 / sqrt(2) on one degree of freedom
    assert "standard deviation is 7.07 points (pooled, 1 degree of freedom)" in table_of(store, name).notes[0]


def test_equal_names_of_different_data_are_ranked_apart_and_what_has_not_begun_goes_along(store):
    name = search(store, grid=True, seeds=(0,))
    first, second = (trial(store, name, [value], hidden=8) for value in (0.5, 0.6))
    trial(store, name, [], hidden=16, status="pending")
    store.update_trial(first, provenance={"data_checksum": "aa"})
    assert set(table_of(store, name).rows["group"]) == {1}
    store.update_trial(second, provenance={"data_checksum": "bb"})
    rows = table_of(store, name).rows
    assert sorted(rows["group"]) == [1, 2, 2]
    assert list(rows["rank"].dropna()) == [1, 1]


def test_one_seed_trained_twice_counts_once(store):
    name = search(store, grid=True, seeds=(0, 1))
    trial(store, name, [0.5], seed=0)
    trial(store, name, [0.5], seed=0)
    rows = table_of(store, name).rows
    assert rows["seeds"].iloc[0] == 1
    assert rows["rank"].isna().all()


def test_stopped_trials_stand_below_by_how_far_they_came_and_have_no_rank(store):
    name = search(store, rungs=(1, 2))
    trial(store, name, [0.3, 0.4, 0.5], hidden=8)
    trial(store, name, [0.95], status="stopped", hidden=9)
    trial(store, name, [0.2, 0.3], status="stopped", hidden=10)
    table = table_of(store, name)
    assert list(table.rows["ffn.mlp.hidden"]) == [8, 10, 9]
    assert list(table.rows["rank"].isna()) == [False, True, True]
    assert any("searched, unconfirmed" in note for note in table.notes)
    assert any("they have no rank" in note for note in table.notes)


def test_a_search_stays_unconfirmed_where_a_comparison_joins_its_table(store):
    searched, compared = search(store), search(store, grid=True, seeds=(0, 1))
    trial(store, searched, [0.9], hidden=8)
    for seed in (0, 1):
        trial(store, compared, [0.5 + 0.01 * seed], seed=seed, hidden=16)
    sentence = "The first row is searched, unconfirmed"
    for names in ([searched], [searched, compared], [compared, searched]):
        assert any(note.startswith(sentence) for note in table_of(store, names).notes)
    for seed in (0, 1):
        trial(store, compared, [0.95 + 0.01 * seed], seed=seed, hidden=32)
    assert not any(sentence in note for note in table_of(store, [searched, compared]).notes)


def test_of_several_groups_those_whose_first_row_was_searched_are_named(store):
    searched, compared = search(store), search(store, grid=True, seeds=(0, 1))
    trial(store, searched, [0.9], augment="seed")
    for seed in (0, 1):
        trial(store, compared, [0.5 + 0.01 * seed], seed=seed)
    notes = table_of(store, [compared, searched], mix=True).notes
    assert any(note.startswith("Group 2: The first row is searched, unconfirmed") for note in notes)


@pytest.mark.parametrize("accuracy", [0.1, 1.0])
def test_seeds_that_agree_exactly_claim_no_difference_of_0_points_and_no_accuracy_without_error(store, accuracy):
    name = search(store, grid=True, seeds=(0, 1, 2))
    for seed in range(3):  # the mean of three times 0.1 is not 0.1 to the last bit
        trial(store, name, [accuracy], seed=seed)
    notes = table_of(store, name).notes
    assert notes[0].endswith("(pooled, 2 degrees of freedom).")
    assert any("standard error" in note for note in notes) == (accuracy < 1)


def test_many_stopped_variants_are_hidden_and_counted_unless_asked_for(store):
    name = search(store, rungs=(1,))
    for hidden in range(1, 10):
        trial(store, name, [hidden / 100], status="stopped", hidden=hidden)
    assert (len(table_of(store, name).rows), table_of(store, name).hidden) == (5, 4)
    assert len(table_of(store, name, everything=True).rows) == 9


def test_rows_of_different_protocols_are_ranked_in_groups_of_their_own(store):
    name = search(store)
    trial(store, name, [0.5], hidden=8)
    trial(store, name, [0.9], hidden=8, augment="seed")
    trial(store, name, [0.6], hidden=16)
    table = table_of(store, name)
    assert list(table.rows["group"]) == [1, 1, 2]
    assert list(table.rows["rank"]) == [1, 2, 1]
    assert any("groups of their own" in note for note in table.notes)


def test_a_comparison_says_what_difference_its_seeds_detect(store):
    name = search(store, grid=True, seeds=(0, 1, 2))
    for hidden in (8, 16):
        for seed, value in enumerate((0.495, 0.500, 0.505)):
            trial(store, name, [value], seed=seed, hidden=hidden)
    note, group, screening, images = table_of(store, name).notes
    # half a point between seeds, three seeds, 4 degrees of freedom: science.md's 1.5 points
    assert "standard deviation is 0.50 points (pooled, 4 degrees of freedom)" in note
    assert "a difference of 1.54 points" in note
    assert "The rows of rank 1 are equal" in group
    assert "Screening: with 3 seeds" in screening
    assert "standard error of 0.71 points" in images


def compare(store, means, seeds=3, step=0.005, **config):
    """A comparison whose variants lie `step` apart between seeds, each around its mean."""
    name = search(store, grid=True, seeds=tuple(range(seeds)))
    for hidden, mean in enumerate(means, start=8):
        for seed in range(seeds):
            trial(store, name, [mean + step * (seed - (seeds - 1) / 2)], seed=seed, hidden=hidden, **config)
    return name


def test_a_mean_stands_with_its_95_percent_t_interval(store):
    row = table_of(store, compare(store, [0.7])).rows.iloc[0]
    # t(0.975, 2) = 4.303 times 0.005 / sqrt(3)
    assert row["interval"] == pytest.approx(4.303 * 0.005 / math.sqrt(3), abs=1e-5)
    assert math.isnan(table_of(store, compare(store, [0.7], seeds=1)).rows["interval"].iloc[0])


def test_variants_that_no_test_tells_apart_from_the_best_share_its_rank(store):
    table = table_of(store, compare(store, [0.700, 0.702, 0.640]))
    assert list(table.rows["rank"]) == [1, 2, 3]
    assert list(table.rows["top"]) == [True, True, False]
    # the last is 6.2 points off: t = 0.062 / (0.005 sqrt(2/3)) = 15.2 with 6 degrees of freedom
    assert table.rows["p_best"].iloc[2] < 1e-4
    assert any("Rows of rank 1-2 are not distinguishable from the best" in note for note in table.notes)
    texts = [cells(row, table)["rank"] for row in table.rows.to_dict("records")]
    assert texts == ["1-2", "1-2", "3"]


@pytest.fixture
def uneven(store):
    """Two searches of one protocol: 12 seeds of mlp and of glu, and two of fff just below glu."""
    for kinds, seeds in (({"mlp": 0.90, "glu": 0.885}, 12), ({"fff": 0.883}, 2)):
        name = search(store, grid=True, seeds=tuple(range(seeds)))
        for kind, mean in kinds.items():
            for seed in range(seeds):
                trial(store, name, [mean + 0.012 * (1 if seed % 2 else -1)], seed=seed, ffn=kind)
    return ["toy-1", "toy-2"]


def test_a_row_of_many_seeds_that_is_told_apart_stands_in_no_span_with_a_lower_one_of_few(store, uneven):
    table = table_of(store, uneven)
    assert list(table.rows["ffn"]) == ["mlp", "glu", "fff"]
    # by the pooled deviation of 1.28 points t is 1.5 / (1.28 sqrt(1/12 + 1/12)) = 2.9 of glu, of fff
    # 1.7 / (1.28 sqrt(1/12 + 1/2)) = 1.7
    assert list(table.rows["top"]) == [True, False, True]
    assert [cells(row, table)["rank"] for row in table.rows.to_dict("records")] == ["1", "2", "3~"]
    (note,) = [note for note in table.notes if "not distinguishable" in note]
    assert note.startswith("Rows of rank 1 and 3 are not distinguishable from the best (t tests with")
    assert "; below the best they are marked ~." in note


def test_every_export_marks_a_row_that_is_not_told_apart_and_sets_it_as_the_best(store, uneven, tmp_path, capsys):
    frames = load(store.url)
    table = variants(frames, uneven)
    write_markdown(table, tmp_path / "table.md")
    write_latex(table, tmp_path / "table.tex")
    assert [line.split("|")[1].strip() for line in (tmp_path / "table.md").read_text().splitlines()[2:5]] == [
        "1", "2", "3~",
    ]  # fmt: skip
    rows = [line for line in (tmp_path / "table.tex").read_text().splitlines() if " & " in line][1:]
    assert [row.split(" & ")[0] for row in rows] == ["1", "2", r"3\textasciitilde{}"]
    assert [r"\textbf{" in row for row in rows] == [True, False, True]
    print_table(frames, table, Console(width=160))
    assert "3~" in capsys.readouterr().out
    page = _rows(frames, table)
    assert [row["cells"][0]["text"] for row in page["rows"]] == ["1", "2", "3~"]
    assert [row["is_first"] for row in page["rows"]] == [True, False, True]


def test_equal_means_of_which_one_is_told_apart_are_no_span():
    rows = pd.DataFrame({"group": 1, "rank": [1, 2, 2], "top": pd.array([True, True, False], dtype="boolean")})
    assert spans(rows) == {}
    assert spans(rows.iloc[:2]) == {1: 2}
    assert spans(rows.assign(top=pd.array([pd.NA] * 3, dtype="boolean"))) == {}


def test_ranks_are_listed_with_neighbours_as_a_span():
    assert [listed(ranks) for ranks in ([1, 3], [1, 2, 4], [4, 1, 2, 3, 6, 6, 9])] == [
        "1 and 3", "1, 2 and 4", "1-4, 6 and 9",
    ]  # fmt: skip


def test_a_span_stays_that_of_the_whole_table_where_a_kind_is_left_out(store):
    name = search(store, grid=True, seeds=(0, 1, 2))
    for kind, mean in (("mlp", 0.702), ("fff", 0.700), ("glu", 0.6)):
        for seed in range(3):
            trial(store, name, [mean + 0.005 * (seed - 1)], seed=seed, ffn=kind)
    for kinds, ranks in ((["mlp"], ["1-2"]), (["fff"], ["1-2"]), (["glu"], ["3"]), ([], ["1-2", "1-2", "3"])):
        table = of_kinds(table_of(store, name), kinds)
        assert [cells(row, table)["rank"] for row in table.rows.to_dict("records")] == ranks
        assert any("Rows of rank 1-2 are not" in note for note in table.notes)


def test_a_best_variant_far_above_stands_alone(store):
    table = table_of(store, compare(store, [0.7, 0.6]))
    assert list(table.rows["top"]) == [True, False]
    assert any("The best is told apart from every other row" in note for note in table.notes)


def test_without_a_spread_no_row_is_called_equal_or_different(store):
    table = table_of(store, compare(store, [0.7, 0.6], seeds=1))
    assert table.rows["top"].isna().all()
    assert any("no difference in this table is resolved" in note for note in table.notes)


@pytest.mark.parametrize(("seeds", "is_screening"), [(1, True), (3, True), (4, False)])
def test_three_seeds_or_fewer_are_called_a_screening(store, seeds, is_screening):
    table = table_of(store, compare(store, [0.7, 0.6], seeds=seeds))
    assert table.is_screening is is_screening


def test_it_is_said_where_some_variants_vary_more_than_others(store):
    name = search(store, grid=True, seeds=tuple(range(5)))
    for hidden, step in ((8, 0.0005), (9, 0.02)):
        for seed in range(5):
            trial(store, name, [0.7 + step * seed], seed=seed, hidden=hidden)
    assert any("Some variants vary more between seeds than others" in note for note in table_of(store, name).notes)
    assert not any("vary more" in note for note in table_of(store, compare(store, [0.7, 0.6])).notes)


def test_each_protocol_has_a_spread_of_its_own(store):
    name = search(store, grid=True, seeds=(0, 1))
    for augment, step in (("none", 0.01), ("seed", 0.10)):
        for seed in range(2):
            trial(store, name, [0.5 + step * seed], seed=seed, augment=augment)
    table = table_of(store, name)
    assert table.protocols == ["Group 1 (toy-1): augment=none", "Group 2 (toy-1): augment=seed"]
    assert "Group 1: Between seeds the standard deviation is 0.71 points" in table.notes[0]
    assert "Group 2: Between seeds the standard deviation is 7.07 points" in table.notes[1]


def test_matches_are_ranked_apart_while_their_seeds_show_one_spread(store):
    name = compare(store, [0.70, 0.71, 0.72])
    hashes = list(load(store.url).trials["variant"].unique())
    match = {"measure": "parameters", "tolerance": 0.01}
    settings = store.search(name).settings
    settings["match"] = [
        {**match, "target": 100, "variants": [{"variant": variant, "met": True} for variant in hashes[:2]]},
        {**match, "target": 200, "variants": [{"variant": variant, "met": True} for variant in hashes[1:]]},
    ]
    store.update_search(name, settings=settings)
    table = table_of(store, name)
    assert list(table.rows["group"]) == [1, 1, 2, 2]
    assert list(table.rows["rank"]) == [1, 2, 1, 2]
    assert table.protocols == []
    assert [note[:20] for note in table.notes[:2]] == ["Group 1 is matched: ", "Group 2 is matched: "]
    assert "(pooled, 6 degrees of freedom)" in table.notes[2], "what stands in two groups counts once"
    assert [note[:8] for note in table.notes[3:5]] == ["Group 1:", "Group 2:"]


def test_two_searches_of_one_protocol_are_ranked_in_one_table_and_their_seeds_pooled(store):
    first, second = compare(store, [0.70]), compare(store, [0.60])
    table = variants(load(store.url), [first, second])
    assert list(table.rows["search"]) == [first, second]
    assert list(table.rows["rank"]) == [1, 2]
    assert "(pooled, 4 degrees of freedom)" in table.notes[0]


def test_one_variant_of_two_searches_stays_two_rows(store):
    first, second = compare(store, [0.70]), compare(store, [0.70])
    rows = variants(load(store.url), [first, second]).rows
    assert list(rows["seeds"]) == [3, 3]
    assert rows["variant"].nunique() == 1


def test_searches_of_different_protocols_are_refused_unless_told_and_then_the_difference_is_shown(store):
    first, second = compare(store, [0.7]), compare(store, [0.8], epochs=9)
    frames = load(store.url)
    with pytest.raises(InputError, match=r"differ in epochs \(3 in toy-1, 9 in toy-2\); name others, or say --mix"):
        variants(frames, [first, second])
    table = variants(frames, [first, second], mix=True)
    assert table.protocols == ["Group 1 (toy-1): epochs=3", "Group 2 (toy-2): epochs=9"]
    assert list(table.rows["rank"]) == [1, 1]


def test_a_kind_is_shown_alone_under_the_ranks_of_the_whole(store):
    name = search(store)
    for ffn, value in (("mlp", 0.7), ("fff", 0.6), ("mlp", 0.5)):
        trial(store, name, [value], ffn=ffn, hidden=int(100 * value))
    table = of_kinds(table_of(store, name), ["fff"])
    assert list(table.rows["rank"]) == [2]
    assert table.notes[-1].startswith("Left out: 2 variants of other kinds")
    with pytest.raises(InputError, match="Unknown kind 'ff'; did you mean 'fff'"):
        of_kinds(table_of(store, name), ["ff"])


def test_seeds_that_tie_are_said_to_be_no_certainty(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed in (0, 1):
        trial(store, name, [0.8156], seed=seed, hidden=8)
        trial(store, name, [0.80 + seed / 100], seed=seed, hidden=16)
    (note,) = [note for note in table_of(store, name).notes if "± 0.00" in note]
    # squares 0 and 2 x 0.005^2 over two degrees of freedom: s = 0.005; half = t(0.975, 2) s / sqrt(2) = 4.30265 x 0.0035355
    assert note == (
        "± 0.00 is no certainty: a variant's few seeds came to the same accuracy, as happens by chance; by the pooled "
        "deviation the mean of 2 seeds is known to ± 1.52 points."
    )


def test_where_every_seed_ties_there_is_no_other_interval_and_none_is_claimed(store):
    name = search(store, grid=True, seeds=(0, 1))
    for seed in (0, 1):
        trial(store, name, [0.8156], seed=seed)
    (note,) = [note for note in table_of(store, name).notes if "± 0.00" in note]
    assert note.endswith("as happens by chance.")


def test_what_a_kind_shares_is_not_told_of_a_kind_that_is_left_out(store):
    name = search(store)
    for hidden in (8, 16):
        trial(store, name, [0.5], hidden=hidden, **{"ffn.mlp.activation": "gelu"})
        trial(store, name, [0.6], ffn="fff", hidden=hidden, **{"ffn.fff.depth": 3})
    table = table_of(store, name)
    assert table.by_kind == {"ffn.mlp.activation": "gelu", "ffn.fff.depth": 3}
    assert of_kinds(table, ["fff"]).by_kind == {"ffn.fff.depth": 3}


def test_searches_are_found_by_tag_and_by_a_word_of_their_notes(store):
    first, second = search(store), search(store)
    store.update_search(second, tags=["paper", "fff"], notes="Level rates, lunch")
    frames = load(store.url)
    assert searches_with(frames, [], tags=["paper"], note=None) == [second]
    assert searches_with(frames, [], tags=[], note="LUNCH") == [second]
    assert searches_with(frames, [first], tags=[], note=None) == [first]
    with pytest.raises(InputError, match="No search has the tag 'papre'; the tags are fff, paper"):
        searches_with(frames, [], tags=["papre"], note=None)


def test_a_search_without_trials_says_so(store):
    name = search(store)
    assert table_of(store, name).notes == ["No trial has been started yet."]


def test_an_unknown_search_is_refused_with_the_nearest(store):
    search(store)
    with pytest.raises(InputError, match="Unknown search 'toy-2'; did you mean 'toy-1'"):
        table_of(store, "toy-2")


def test_frames_are_tidy_and_keep_every_key_of_the_dictionary(store):
    name = search(store, rungs=(1,))
    trial(store, name, [0.3], status="stopped", hidden=8)
    trial(store, name, [0.3, 0.4, 0.5], ffn="fff", hidden=4)
    frames = load(store.url)
    assert list(frames.trials["epochs_run"]) == [1, 3]
    assert list(frames.trials["epochs"]) == [3, 3]
    assert frames.trials["ffn.fff.hidden"].isna().tolist() == [True, False]
    assert frames.epochs.groupby("trial_id").size().to_dict() == {"toy-1.1": 1, "toy-1.2": 3}
    assert list(frames.decisions["decision"]) == ["stop"]
    assert isinstance(frames.trials["created"].dtype, pd.DatetimeTZDtype)


def test_two_objectives_mark_the_front_among_complete_variants(store):
    name = search(store, objectives=["val_acc", "parameters"], scheduler="none")
    for hidden, accuracy in ((8, 0.5), (16, 0.6), (24, 0.55), (32, 0.7), (40, 0.7), (4, 0.4)):
        trial(store, name, [accuracy], hidden=hidden)
    trial(store, name, [0.7], hidden=32, lr=2e-3)  # as good and as large as another on the front
    trial(store, name, [0.99], hidden=1, status="stopped")
    table = table_of(store, name)
    marked = table.rows[table.rows["front"]]
    assert sorted(zip(marked["parameters"], marked["val_acc"], strict=True)) == [
        (4000, 0.4), (8000, 0.5), (16000, 0.6), (32000, 0.7), (32000, 0.7),
    ]  # fmt: skip
    assert any(note.startswith("The front (*)") for note in table.notes)


def test_one_objective_has_no_front(store):
    name = search(store, objectives=["val_acc"])
    trial(store, name, [0.5])
    assert "front" not in table_of(store, name).rows


def test_the_same_runs_under_two_searches_are_tested_as_the_one_variant_that_they_are(store):
    names = [search(store, grid=True, seeds=(0, 1, 2)) for _ in range(2)]
    for name in names:
        for hidden, level in ((8, 0.60), (16, 0.67), (32, 0.50)):
            for seed in range(3):
                trial(store, name, [level + 0.015 * seed], seed=seed, hidden=hidden)
    alone, both = table_of(store, names[0]).rows, table_of(store, names).rows
    assert alone["p_best"].nunique() == 3
    for hidden in (8, 16, 32):
        (expected,) = alone[alone["ffn.mlp.hidden"] == hidden]["p_best"]
        assert both[both["ffn.mlp.hidden"] == hidden]["p_best"].tolist() == [pytest.approx(expected)] * 2


def test_of_a_seed_that_ran_twice_the_run_that_came_to_its_end_counts(store):
    name = search(store)
    trial(store, name, [0.5, 0.9], hidden=8)
    trial(store, name, [0.6], hidden=8, status="stopped")
    trial(store, name, [0.5, 0.8], hidden=16)
    rows = table_of(store, name).rows
    assert rows["val_acc"].tolist() == [0.9, 0.8]
    assert rows["complete"].all()


def test_a_run_that_stands_in_two_searches_adds_nothing_to_the_spread_between_seeds(store):
    names = [search(store, grid=True, seeds=(0, 1, 2)) for _ in range(2)]
    for name in names:
        for seed in range(3):
            trial(store, name, [0.5 + seed / 100], seed=seed)
    notes = variants(load(store.url), names).notes
    assert notes[0] == variants(load(store.url), names[0]).notes[0]
    assert "(pooled, 2 degrees of freedom)" in notes[0]
