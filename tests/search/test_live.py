"""What a person sees while a search runs."""

from dataclasses import replace

import pytest

from results.text import keys_text
from search import catalog
from search.live import telling_keys


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
