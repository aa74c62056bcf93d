from experiments.ideas import RECIPE, rated
from search.experiment import Experiment


def pairs() -> Experiment:
    """Is a pair of feed-forward parts, before and after attention, better than a single one of equal parameters?"""
    singles = [rated({"ffn": "mlp", "ffn.mlp.hidden": width, "layout": "single"}) for width in (64, 128, 256, 512)]
    halves = [rated({"ffn": "mlp", "ffn.mlp.hidden": width, "layout": "pair"}) for width in (32, 64, 128, 256)]
    return Experiment(base=RECIPE, grid=[*singles, *halves], seeds=(0, 1, 2))
