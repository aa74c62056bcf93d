from experiments.ideas import RECIPE, rated
from search.experiment import Experiment


def dense_sizes() -> Experiment:
    """How does accuracy grow with the width of a dense feed-forward part, from 8 to 1,024 neurons?"""
    widths = (8, 16, 32, 64, 128, 256, 512, 1024)
    return Experiment(
        base=RECIPE,
        grid=[rated({"ffn": "mlp", "ffn.mlp.hidden": width}) for width in widths],
        seeds=(0, 1, 2),
    )
