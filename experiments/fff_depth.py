from experiments.ideas import RECIPE, rated
from search.experiment import Experiment


def fff_depth() -> Experiment:
    """Does a tree of neurons gain from depth, from 2 to 8, or only from more trees side by side, 1, 2 or 4?"""
    return Experiment(
        base=RECIPE,
        grid=[
            rated({"ffn": "fff", "ffn.fff.depth": depth, "ffn.fff.trees": trees})
            for trees in (1, 2, 4)
            for depth in range(2, 9)
        ],
        seeds=(0, 1, 2),
    )
