from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from trainer.config import Flat


def soft_vs_hard() -> Experiment:
    """Does a tree trained softly keep its accuracy with one hard path for each input, and beat one trained hard?"""
    soft: Flat = {"ffn": "fff_soft", "ffn.fff_soft.depth": 3, "ffn.fff_soft.leaf_width": 32}
    narrow: Flat = {"ffn": "fff_soft", "ffn.fff_soft.depth": 5, "ffn.fff_soft.leaf_width": 7}
    weighted: list[Flat] = [
        {**tree, "ffn.fff_soft.hardening_weight": hardening, "ffn.fff_soft.balance_weight": balance}
        for tree, hardening, balance in (
            (soft, 0.0, 0.0),
            (soft, 0.1, 0.0),
            (soft, 1.0, 0.0),
            (soft, 0.1, 0.1),
            (soft, 1.0, 0.1),
            (narrow, 0.1, 0.1),
        )
    ]
    # 270,087 and 261,887 parameters in a block, the hard tree has 261,375
    hard: Flat = {"ffn": "fff", "ffn.fff.depth": 7}
    return Experiment(base=RECIPE, grid=[rated(variant) for variant in (*weighted, hard)], seeds=(0, 1, 2))
