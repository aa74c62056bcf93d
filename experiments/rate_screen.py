from experiments.ideas import RECIPE
from search.experiment import Experiment
from trainer.config import Flat


def rate_screen() -> Experiment:
    """Which learning rate suits a dense layer, a binary tree and a tree of fan-out 4, before they are compared?"""
    kinds: tuple[Flat, ...] = (
        {"ffn": "mlp", "ffn.mlp.hidden": 256},
        {"ffn": "fff", "ffn.fff.depth": 7},
        {"ffn": "fff_fanout", "ffn.fff_fanout.fanout": 4, "ffn.fff_fanout.depth": 3},
    )
    return Experiment(
        base={**RECIPE, "epochs": 15},
        grid=[{**kind, "lr": rate} for rate in (5e-4, 1e-3, 2e-3, 4e-3) for kind in kinds],
        seeds=(0,),
    )
