from experiments.ideas import RECIPE
from search.experiment import Experiment
from trainer.config import Flat


def level_rates() -> Experiment:
    """Should the root of a tree learn more slowly than its leaves, or is a lower rate for the whole tree all that helps?"""
    tree: Flat = {"ffn": "fff", "ffn.fff.depth": 7}
    crossed: list[Flat] = [
        {**tree, "ffn.fff.level_lr_ratio": ratio, "lr": rate}
        for ratio in (1.0, 0.85, 0.7, 0.5)
        for rate in (5e-4, 1e-3, 2e-3)
    ]
    equal_mean: list[Flat] = [
        {**tree, "ffn.fff.level_lr_ratio": ratio, "ffn.fff.level_lr_equal_mean": True, "lr": 1e-3}
        for ratio in (0.85, 0.7, 0.5)
    ]
    return Experiment(base=RECIPE, grid=[*crossed, *equal_mean], seeds=(0, 1, 2))
