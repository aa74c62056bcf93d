"""A trial that was trained here, taken as a bundle into another folder, is evaluated and replayed there."""

import pytest

from results.store import Store

pytestmark = pytest.mark.slow


def test_a_bundle_opened_in_a_fresh_store_gives_the_same_accuracy_and_the_same_curve(place):
    keys = (
        "data=digits",
        "batch_size=128",
        "patch=16",
        "dim=16",
        "depth=1",
        "heads=1",
        "epochs=2",
        "ffn=fff",
        "ffn.fff.depth=2",
    )
    place.run("trainer.run", *keys, "--threads", "1")
    here = place.run_json("trainer.evaluate", "single-1.1")
    place.run("results.bundle", "single-1.1", "-o", "one.zip")
    with Store.open(f"sqlite:///{place.folder}/runs/arbor.db", create=False) as store:
        recorded = store.trial("single-1.1").provenance
    (place.folder / "runs").rename(place.folder / "away")  # nothing of the first store can help
    said = place.run("results.bundle", "--open", "one.zip")
    assert "single-1.1 is in the store now, as bundle-single-1-1.1." in said
    there = place.run_json("trainer.evaluate", "bundle-single-1-1.1")
    same = ("loss", "accuracy", "epoch", "stored_loss", "stored_accuracy")
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert "Verdict: identical" in place.run("trainer.replay", "bundle-single-1-1.1")
    assert "bundle-single-1-1" in place.run("results.show", "--list")
    with Store.open(f"sqlite:///{place.folder}/runs/arbor.db", create=False) as store:
        row = store.trial("bundle-single-1-1.1")
    assert row.test_acc is not None
    taken = {name: value for name, value in row.provenance.items() if name not in ("folder", "bundle")}
    of_there = ("folder", "data_path", "driver_pid", "driver_started")
    assert taken == {name: value for name, value in recorded.items() if name not in of_there}
