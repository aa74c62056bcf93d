from experiments.fast import fast
from search.experiment import Experiment
from trainer.config import Flat

RECIPE: Flat = {**fast().base, "ffn": "mlp", "ffn.mlp.hidden": 256, "lr": 4e-3}
"""The best of a screen by seed 0 (results/LOG.md, 2026-11-29, midnight)."""


def minute() -> Experiment:
    """What does vit_tiny reach on CIFAR-10 in 60 s of training on one H200, trained on 45,000 images alone?"""
    return Experiment(base={**RECIPE, "epochs": 154}, grid=[{}], seeds=(1, 2, 3), concurrency=1)
