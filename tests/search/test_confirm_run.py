"""`--confirm` and `--tune-lr` as a person runs them: real commands, real Ray, killed in the middle."""

import pytest

from results.frames import load
from results.table import variants

ONE_SLOT = ("--concurrency", "1")


@pytest.mark.slow
def test_a_search_is_confirmed_and_a_comparison_tuned_through_kills(place):
    place.run("search.run", "tiny.py", *ONE_SLOT)
    with place.store() as store:
        before = store.trials("tiny-1")

    price = place.run("search.run", "--confirm", "tiny-1", "--top", "2", "--seeds", "2", "--preview", *ONE_SLOT)
    assert "6 (3 variants x 2 seeds)" in price
    with place.store() as store:
        assert [row.id for row in store.searches()] == ["tiny-1"], "a preview makes no search"

    started = place.start("search.run", "--confirm", "tiny-1", "--top", "2", "--seeds", "2", *ONE_SLOT)
    started.wait_for(r"tiny-confirmed-1\.\d .*epoch 4/4", times=2)
    started.kill()
    printed = place.run("search.run", "--resume", "tiny-confirmed-1")
    assert "searched %" in printed
    assert "Winner's curse: over the 2 variants confirmed" in " ".join(printed.split())
    frames = load(f"sqlite:///{place.folder}/runs/arbor.db")
    table = variants(frames, "tiny-confirmed-1")
    assert list(table.rows["seeds"]) == [2, 2, 2]
    best = sorted((row.val_acc for row in before if row.status == "finished"), reverse=True)[:2]
    assert sorted(table.rows["searched_val_acc"].dropna(), reverse=True) == best
    with place.store() as store:
        rows = store.trials("tiny-confirmed-1")
        assert store.trials("tiny-1") == before
    assert [row.seed for row in rows] == [1, 1, 1, 2, 2, 2]
    assert {(row.status, row.epochs) for row in rows} == {("finished", 4)}
    assert "has ended: all its 6 trials" in place.run("search.run", "--resume", "tiny-confirmed-1", "--seeds", "2")

    tuned = ("search.run", "pairs.py", "--lr-factors", "0.5,1", "--seeds", "2", "--epochs", "2", *ONE_SLOT)
    started = place.start(*tuned)
    started.wait_for(r"pairs-1\.\d .*epoch 2/2", times=3)
    started.kill()
    printed = " ".join(place.run("search.run", "--resume", "pairs-1").split())
    assert "Learning rate tuned for each variant: 2 rates x 1 seed" in printed
    with place.store() as store:
        rows = store.trials("pairs-1")
    assert [row.seed for row in rows] == [2**31 - 1] * 4 + [0, 0, 1, 1]
    for kind in ("mlp", "fff"):
        own = [row for row in rows if row.config["ffn"] == kind]
        best = max(own[:2], key=lambda row: (row.val_acc, -row.config["lr"]))
        assert {row.config["lr"] for row in own[2:]} == {best.config["lr"]}
