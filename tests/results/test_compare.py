"""Comparisons: whom a name means, what may be claimed, and what two trials do with single images."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from results import compare as command
from results.comparison import compare
from results.errors import InputError
from results.frames import load
from results.images import labels_of
from results.verdict import seeds_needed
from trainer import packed

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path):
    with new_store(tmp_path) as opened:
        yield opened


def arms(store, means, seeds=3, step=0.005, **config):
    """A comparison whose variants have `seeds` seeds each, `step` apart around a mean."""
    name = search(store, grid=True, seeds=tuple(range(seeds)))
    for hidden, mean in enumerate(means, start=8):
        for seed in range(seeds):
            trial(store, name, [mean + step * (seed - (seeds - 1) / 2)], seed=seed, hidden=hidden, **config)
    return name


def judged(store, *names, **options):
    return compare(load(store.url), names, **options)


def test_a_difference_is_claimed_with_its_interval_by_the_deviation_of_the_whole_table(store):
    arms(store, [0.720, 0.700, 0.500])
    found = judged(store, "toy-1.1", "toy-1.4")
    # three variants of three seeds: 6 degrees of freedom; half = t(0.975, 6) 0.005 sqrt(2/3) = 2.44691 x 0.0040825
    each = found.pairs[0].verdict.difference
    assert (found.spread.freedom, each.value) == (6, pytest.approx(0.02))
    assert each.high - each.value == pytest.approx(2.44691 * 0.0040825, abs=1e-6)
    assert found.pairs[0].verdict.word == "different"
    assert found.pairs[0].claim == (
        "hidden=8 is better than hidden=9 by 2.00 points (95 % interval 1.00 to 3.00, p = 0.0027)."
    )
    assert any(note.startswith("Screening: a side has 3 seeds") for note in found.notes)


def test_the_better_side_is_named_first_whichever_way_round_they_are_given(store):
    arms(store, [0.720, 0.700])
    assert judged(store, "hidden=9", "hidden=8").pairs[0].claim.startswith("hidden=8 is better than hidden=9 by 2.00")


def test_what_the_seeds_cannot_show_is_not_resolved_and_the_way_out_is_named(store):
    arms(store, [0.703, 0.700])
    pair = judged(store, "hidden=8", "hidden=9", margin=0.005).pairs[0]
    assert pair.verdict.word == "not resolved"
    assert pair.claim.startswith("Not resolved: the difference of hidden=8 and hidden=9 is +0.30 points")
    # 0.5 points at a deviation of 0.5: 17 a side (the textbook's 16 by normal quantiles is too few)
    assert pair.claim.endswith("3 seeds a side find 1.54 points with 80 % power; 0.5 take about 17 seeds each.")


def test_equivalence_is_claimed_within_the_margin_alone(store):
    arms(store, [0.7001, 0.7000], step=0.001)
    assert judged(store, "hidden=8", "hidden=9", margin=0.005).pairs[0].verdict.word == "equivalent"
    assert judged(store, "hidden=8", "hidden=9", margin=0.001).pairs[0].verdict.word == "not resolved"


def test_a_difference_below_the_margin_is_said_to_be_one(store):
    arms(store, [0.704, 0.700], step=0.0002)
    pair = judged(store, "hidden=8", "hidden=9", margin=0.005).pairs[0]
    assert pair.verdict.word == "different"
    assert "which is less than the margin of 0.5 points" in pair.claim


def test_many_comparisons_are_corrected_by_holm(store):
    arms(store, [0.710, 0.700, 0.698, 0.697])
    found = judged(store, "hidden=8", "hidden=9", "hidden=10", "hidden=11")
    raw = [pair.verdict.difference.p for pair in found.pairs]
    corrected = [pair.verdict.p_holm for pair in found.pairs]
    third, second, first = raw
    assert third > second > first
    assert corrected[2] == pytest.approx(3 * first)
    assert corrected[1] == pytest.approx(max(3 * first, 2 * second))
    assert corrected[0] == pytest.approx(max(3 * first, 2 * second, third))


def test_one_seed_a_variant_resolves_nothing(store):
    arms(store, [0.9, 0.1], seeds=1)
    pair = judged(store, "hidden=8", "hidden=9").pairs[0]
    assert pair.verdict.word == "not resolved"
    assert "one seed a variant shows no spread" in pair.claim


def test_a_variant_with_a_diverged_seed_has_no_mean_and_no_claim(store):
    name = arms(store, [0.7])
    for seed, status in enumerate(["finished", "finished", "diverged"]):
        trial(store, name, [0.9], status=status, seed=seed, hidden=99)
    pair = judged(store, "hidden=99", "hidden=8").pairs[0]
    assert pair.verdict is None
    assert "hidden=99 has no mean (2 of 3 finished, 1 of 3 diverged)" in pair.claim


def test_two_searches_are_compared_in_the_variants_that_both_have(store):
    first, second = arms(store, [0.72, 0.70]), arms(store, [0.70, 0.65, 0.60])
    found = judged(store, first, second)
    assert [(pair.a.label, pair.b.label) for pair in found.pairs] == [("hidden=8",) * 2, ("hidden=9",) * 2]
    assert [round(pair.verdict.difference.value, 3) for pair in found.pairs] == [0.02, 0.05]
    assert found.pairs[0].claim.startswith("hidden=8 (toy-1) is better than hidden=8 (toy-2)")


def test_two_searches_without_a_common_variant_are_compared_in_their_best_with_a_caution(store):
    first, second = arms(store, [0.72, 0.70]), arms(store, [0.70, 0.65], batch_size=64, lr=1.0)
    found = judged(store, first, second)
    assert len(found.pairs) == 1
    assert found.pairs[0].verdict.difference.value == pytest.approx(0.02)
    assert any(
        "Picked out of many by the values that are compared, so looking better than it is: toy-1 and toy-2" in note
        for note in found.notes
    )


def test_of_three_searches_one_that_shares_no_variant_is_named_and_not_dropped(store):
    first, second = arms(store, [0.72, 0.70]), arms(store, [0.71, 0.69])
    third, fourth = arms(store, [0.60], lr=1.0), arms(store, [0.73, 0.71, 0.50])
    with pytest.raises(
        InputError, match=f"but {third} has none of {first}; leave it out, or compare it with {first} al"
    ):
        judged(store, first, second, third)
    assert [(pair.a.search, pair.b.search) for pair in judged(store, first, second, fourth).pairs] == [
        (first, second), (first, second), (first, fourth), (first, fourth),
    ]  # fmt: skip
    assert [(pair.a.name, pair.b.name) for pair in judged(store, third, first, second).pairs] == [
        (third, first), (third, second),
    ]  # fmt: skip


def test_runs_that_stand_in_both_searches_are_counted_once_and_it_is_said(store):
    first, second = arms(store, [0.70]), arms(store, [0.70])
    for seed, accuracy in ((3, 0.703), (4, 0.707)):
        trial(store, second, [accuracy], seed=seed, hidden=8)
    found = judged(store, first, second)
    a, b = found.arms
    assert [a.values("val_acc"), b.values("val_acc")] == [[0.695, 0.70, 0.705], [0.703, 0.707]]
    # each side pooled by itself: two degrees of freedom of the first, and those of two fresh runs
    assert found.spread.freedom == 2 + 1
    assert found.pairs[0].verdict.difference.value == pytest.approx(0.70 - 0.705)
    assert found.notes[1] == (
        f"{a.name} and {b.name} share 3 runs with the same keys, seeds and results: no independent measurements, so each "
        f"is counted once, for {a.name} alone."
    )


def test_searches_of_the_same_runs_allow_no_claim_and_no_equivalence(store):
    first, second = arms(store, [0.70, 0.60], step=0.0001), arms(store, [0.70, 0.60], step=0.0001)
    found = judged(store, first, second)
    assert [pair.verdict for pair in found.pairs] == [None, None]
    assert "(3 runs with the same keys, seeds and results), so there is nothing to compare" in found.pairs[0].claim
    assert found.spread.freedom == 4  # not 8
    assert not any("0 seeds" in note for note in found.notes)
    shown = CliRunner().invoke(command.app, [first, second, "--storage", store.url])
    assert shown.exit_code == 0
    assert "shared" in shown.output


def test_a_seed_that_gave_another_result_is_a_run_of_its_own(store):
    first, second = arms(store, [0.70]), arms(store, [0.701])
    assert [len(arm.trials) for arm in judged(store, first, second).arms] == [3, 3]


def test_sides_of_different_protocols_are_refused_unless_told(store):
    first, second = arms(store, [0.72]), arms(store, [0.70], epochs=9)
    with pytest.raises(InputError, match="one protocol, but toy-1 has epochs=3 and toy-2 has epochs=9"):
        judged(store, first, second)
    notes = judged(store, first, second, mix=True).notes
    assert any("The sides differ in epochs, too" in note for note in notes)


def test_a_hash_a_part_of_it_and_a_qualified_name_mean_one_variant(store):
    name = arms(store, [0.72, 0.70])
    hashes = list(dict.fromkeys(load(store.url).trials["variant"]))
    for left in (hashes[0], hashes[0][:6], f"{name}:{hashes[0]}", f"{name}:hidden=8"):
        assert judged(store, left, "hidden=9").pairs[0].a.variant == hashes[0]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["toy-1.1"], "needs at least two"),
        (["toy-1.1", "toy-1.99"], "Unknown trial 'toy-1.99'; did you mean 'toy-1."),
        (["toy-1.1", "toy-9.1"], "Unknown trial 'toy-9.1'; did you mean 'toy-1.1'?"),
        (["hidden=8", "hidden=77"], "did you mean 'hidden="),
        (["lr=0.001", "hidden=8"], "Unknown trial, variant or search 'lr=0.001'"),
        (["hidden=8", "hidden=8"], "are one variant"),
        (["toy-1", "toy-1"], "must be named once"),
        (["toy-1.1", "toy-1.4", "--margin", "0"], "must be above 0"),
        (["toy-1.1", "toy-1.4", "--margin", "nan"], "must be above 0"),
        (["toy-1.1", "toy-1.4", "--split", "train"], "must be val or test"),
        (["hidden=8", "hidden=9", "--search", "toy-7"], "Unknown search 'toy-7'"),
    ],
)
def test_bad_names_and_options_are_refused_in_one_sentence(store, names, sentence):
    arms(store, [0.72, 0.70])
    refused = CliRunner().invoke(command.app, [*names, "--storage", store.url]).exception
    assert isinstance(refused, InputError)
    assert sentence in str(refused)


def test_an_ambiguous_name_lists_what_it_fits(store):
    name = search(store, grid=True, seeds=(0,))
    for layout in ("single", "pair"):
        for hidden in (8, 9):
            trial(store, name, [0.5], hidden=hidden, layout=layout)
    with pytest.raises(InputError, match=r"must name one variant of toy-1, but fits 2: .*; say more keys"):
        judged(store, "hidden=8", "pair hidden=9")


def test_the_command_ends_with_2_or_prints_json_alone(store):
    arms(store, [0.72, 0.70])

    def run(*names):
        return subprocess.run(
            [sys.executable, "-m", "results.compare", *names, "--storage", store.url], capture_output=True, text=True,
            cwd=REPOSITORY, timeout=120, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY)}, check=False,
        )  # fmt: skip

    answer = json.loads(run("toy-1.1", "toy-1.4", "--json").stdout)
    assert answer["comparisons"][0]["verdict"] == "different"
    assert answer["comparisons"][0]["difference"] == pytest.approx(0.02)
    assert [arm["seeds"] for arm in answer["arms"]] == [3, 3]
    refused = run("toy-1.1", "toy-1.999")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("gap", [0.005, 0.002])
def test_the_seeds_that_are_called_for_detect_the_margin_and_one_fewer_does_not(gap):
    from results.statistics import detectable_difference

    needed = seeds_needed(0.005, gap)
    assert detectable_difference(0.005, needed) <= gap < detectable_difference(0.005, needed - 1)


# images


LABELS = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] * 2)


def dataset(folder, labels=LABELS):
    """A packed data set with these validation labels, written as the trainer does."""
    tensors = {
        f"{split}.{part}": value
        for split in ("train", "val", "test")
        for part, value in (
            ("images", np.zeros((len(labels), 2, 2, 3), np.uint8)),
            ("labels", labels.astype(np.int64)),
            ("source_index", np.arange(len(labels))),
        )
    }
    path = folder / "toy.safetensors"
    packed.write_atomically(path, {"checksum": "c" * 64}, tensors)
    return path


def predicted(store, folder, name, classes, path, checksum="c" * 64):
    """Keep predictions for a trial, as a finished one does."""
    own = folder / name
    own.mkdir()
    np.savez_compressed(own / "predictions.npz", val=np.array(classes, np.uint8), test=np.array(classes, np.uint8))
    store.update_trial(name, provenance={"folder": str(own), "data_path": str(path), "data_checksum": checksum})


def wrong_at(*places):
    classes = LABELS.copy()
    classes[list(places)] = (classes[list(places)] + 1) % 10
    return classes


@pytest.fixture
def two(store, tmp_path):
    """Two trials of 20 images: the first errs at 0 and 1, the second at 1 to 9."""
    name = search(store, grid=True, seeds=(0,))
    trial(store, name, [0.90], hidden=8)
    trial(store, name, [0.55], hidden=9)
    path = dataset(tmp_path)
    predicted(store, tmp_path, "toy-1.1", wrong_at(0, 1), path)
    predicted(store, tmp_path, "toy-1.2", wrong_at(*range(1, 10)), path)
    return path


def test_mcnemar_counts_the_images_that_one_network_alone_has_right(store, two):
    (images,) = judged(store, "toy-1.1", "toy-1.2").pairs[0].images
    # both are wrong at 1, in the same way; alone: the first at 2 to 9, the second at 0
    assert (images.images, images.only_a, images.only_b) == (20, 8, 1)
    assert images.agreement == pytest.approx(11 / 20)
    # binomial: 2 (1 + 9) / 2^9
    assert images.p == pytest.approx(20 / 512)


def test_without_the_labels_there_is_agreement_and_no_test(store, two):
    two.unlink()
    found = judged(store, "toy-1.1", "toy-1.2")
    (images,) = found.pairs[0].images
    assert (images.p, images.only_a) == (None, None)
    assert images.agreement == pytest.approx(11 / 20)
    assert any("Which predictions are right is not known" in note for note in found.notes)


def test_labels_of_a_data_set_that_was_made_anew_are_not_used(two):
    assert labels_of({"data_path": str(two), "data_checksum": "d" * 64}, "two", "val") is None
    assert list(labels_of({"data_path": str(two), "data_checksum": "c" * 64}, "two", "val")) == list(LABELS)


def test_labels_of_a_trial_from_another_machine_are_looked_for_where_data_sets_are_kept(two, monkeypatch):
    elsewhere = {"data_checksum": "c" * 64}
    assert labels_of(elsewhere, two.stem, "val") is None
    monkeypatch.setenv("ARBOR_DATA", str(two.parent))
    assert list(labels_of(elsewhere, two.stem, "val")) == list(LABELS)


def test_predictions_that_do_not_give_the_accuracy_of_the_row_are_refused(store, two):
    store.update_trial("toy-1.1", val_acc=0.95, best_val_acc=0.95)
    notes = judged(store, "toy-1.1", "toy-1.2").notes
    assert any("must give its accuracy, 95.00 %, but give 90.00 %" in note for note in notes)


def test_trials_of_other_images_are_not_compared_image_by_image(store, two):
    store.update_trial("toy-1.2", provenance={"data_checksum": "d" * 64})
    found = judged(store, "toy-1.1", "toy-1.2", mix=True)
    assert found.pairs[0].images == []
    assert any("the data of toy-1.1 and toy-1.2 differ" in note for note in found.notes)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_damaged_predictions_are_said_and_the_seeds_still_speak(store, two, tmp_path, content):
    (tmp_path / "toy-1.1" / "predictions.npz").write_bytes(content)
    found = judged(store, "toy-1.1", "toy-1.2")
    assert found.pairs[0].verdict is not None
    assert any("are damaged" in note for note in found.notes)


def test_two_seeds_of_one_variant_are_compared_by_their_images_alone(store, tmp_path):
    name = search(store, grid=True, seeds=(0, 1))
    path = dataset(tmp_path)
    for number, seed in ((1, 0), (2, 1)):
        trial(store, name, [0.95], seed=seed)
        predicted(store, tmp_path, f"toy-1.{number}", wrong_at(number), path)
    pair = judged(store, "toy-1.1", "toy-1.2").pairs[0]
    assert pair.verdict is None
    assert "are trials of one variant" in pair.claim
    assert (pair.images[0].only_a, pair.images[0].only_b, pair.images[0].p) == (1, 1, 1.0)


def test_variants_are_compared_seed_by_seed_and_the_agreement_within_one_is_told(store, tmp_path):
    name = search(store, grid=True, seeds=(0, 1))
    path = dataset(tmp_path)
    for number, (hidden, seed) in enumerate([(8, 0), (8, 1), (9, 0), (9, 1)], start=1):
        trial(store, name, [0.95], seed=seed, hidden=hidden)
        predicted(store, tmp_path, f"toy-1.{number}", wrong_at(number), path)
    found = judged(store, "hidden=8", "hidden=9")
    assert [(each.a, each.b) for each in found.pairs[0].images] == [("toy-1.1", "toy-1.3"), ("toy-1.2", "toy-1.4")]
    assert any("Two seeds of one variant agree on 90.0 % in hidden=8" in note for note in found.notes)


def test_one_seed_that_was_trained_twice_is_compared_with_itself_image_by_image(store, tmp_path):
    name = search(store)
    path = dataset(tmp_path)
    for number in (1, 2):
        trial(store, name, [0.95])
        predicted(store, tmp_path, f"toy-1.{number}", wrong_at(number), path)
    (images,) = judged(store, "toy-1.1", "toy-1.2").pairs[0].images
    assert images.agreement == pytest.approx(0.9)


def test_nothing_of_it_needs_torch():
    script = "import sys, results.compare; print({'torch', 'ray', 'deepspeed', 'optuna'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "set()"
