from experiments.ideas import RECIPE, rated
from search.experiment import Experiment


def fff_fanout() -> Experiment:
    """Which fan-out suits a tree of some 400 neurons, and does it learn its choices when they weight the output?"""
    shapes = ((2, 7), (3, 4), (4, 3), (8, 2))  # 510, 363, 340 and 584 neurons; 16, 15, 16 and 24 used
    return Experiment(
        base=RECIPE,
        grid=[
            rated(
                {
                    "ffn": "fff_fanout",
                    "ffn.fff_fanout.fanout": fanout,
                    "ffn.fff_fanout.depth": depth,
                    "ffn.fff_fanout.choice": choice,
                }
            )
            for fanout, depth in shapes
            for choice in ("hard", "weighted")
        ],
        seeds=(0, 1, 2),
    )
