from collections.abc import Mapping

from search.experiment import Experiment
from trainer.config import Flat, FlatValue

RECIPE: Flat = {
    "data": "cifar10",
    "epochs": 30,
    "batch_size": 1024,
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "schedule": "linear",
    "warmup_epochs": 2.0,
    "dropout": 0.0,  # a tree has none: the dense layers would be held back alone
    "label_smoothing": 0.1,
    "augment": "crop_pad_alternate",
}
"""What the experiments with ideas have in common, but for the learning rate."""

# Chosen by `rate_screen` (results/LOG.md), where a kind was in it; the others have the rate of fff.
RATES = {"mlp": 2e-3, "glu": 2e-3, "fff": 2e-3, "fff_fanout": 1e-3, "fff_soft": 2e-3, "flat": 2e-3, "csc": 2e-3}


def ideas() -> Experiment:
    """Which idea for the feed-forward part of vit_tiny is worth its parameters on CIFAR-10: one table of them all?"""
    variants: list[Flat] = [
        {"ffn": "mlp", "ffn.mlp.hidden": 8},
        {"ffn": "mlp", "ffn.mlp.hidden": 32},
        {"ffn": "mlp", "ffn.mlp.hidden": 256},
        {"ffn": "mlp", "ffn.mlp.hidden": 128, "layout": "pair"},
        {"ffn": "mlp", "ffn.mlp.hidden": 256, "layout": "pair"},
        {"ffn": "fff", "ffn.fff.depth": 2},
        {"ffn": "fff", "ffn.fff.depth": 7},
        {"ffn": "fff", "ffn.fff.depth": 7, "ffn.fff.dense_rows": 8},
        {"ffn": "fff", "ffn.fff.depth": 5, "ffn.fff.trees": 4},
        {
            "ffn": "fff",
            "ffn.fff.depth": 7,
            "ffn.fff.level_lr_ratio": 0.7,
            "ffn.fff.level_lr_equal_mean": True,
        },
        {
            "ffn": "fff_fanout",
            "ffn.fff_fanout.fanout": 4,
            "ffn.fff_fanout.depth": 3,
            "ffn.fff_fanout.choice": "hard",
        },
        {
            "ffn": "fff_fanout",
            "ffn.fff_fanout.fanout": 4,
            "ffn.fff_fanout.depth": 3,
            "ffn.fff_fanout.choice": "weighted",
        },
        {"ffn": "csc", "ffn.csc.hidden": 256},
        {"ffn": "flat", "ffn.flat.hidden": 256},
    ]
    return Experiment(base=RECIPE, grid=[rated(variant) for variant in variants], seeds=(0, 1, 2))


def rated(variant: Mapping[str, FlatValue]) -> Flat:
    """The variant with its kind's learning rate."""
    return {**variant, "lr": RATES[str(variant["ffn"])]}
