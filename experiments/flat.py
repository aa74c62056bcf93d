from experiments.ideas import RECIPE, rated
from search.experiment import Experiment


def flat() -> Experiment:
    """Does a flat tree, which decides its whole path by one small product, gain from width or from dense rows?"""
    return Experiment(
        base=RECIPE,
        grid=[
            rated({"ffn": "flat", "ffn.flat.hidden": hidden, "ffn.flat.dense_rows": rows})
            for hidden in (16, 64, 256)
            for rows in (0, 8)
        ],
        seeds=(0, 1, 2),
    )
