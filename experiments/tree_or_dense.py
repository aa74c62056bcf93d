from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from search.tuning import FACTORS
from trainer.config import Flat


def tree_or_dense() -> Experiment:
    """Does a tree of neurons beat a dense layer at equal parameters, at equal neurons used, or at equal latency?"""
    variants: list[Flat] = [
        {"ffn": "fff", "ffn.fff.depth": 5, "ffn.fff.trees": 4},  # the best tree of `ideas` (results/LOG.md)
        {"ffn": "mlp", "ffn.mlp.hidden": 252},  # of its parameters
        {"ffn": "mlp", "ffn.mlp.hidden": 24},  # of the neurons that a token uses in it
        {"ffn": "mlp", "ffn.mlp.hidden": 396},  # of its latency: one image, one CPU thread (results/LOG.md, 2026-11-29)
        {"ffn": "mlp", "ffn.mlp.hidden": 256},  # the baseline
    ]
    return Experiment(
        base={**RECIPE, "epochs": 40},
        grid=[rated(variant) for variant in variants],
        seeds=(10, 11, 12, 13, 14, 15),  # none that the screening saw by which the tree was chosen
        tune_lr=FACTORS,
    )
