from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from trainer.config import Flat


def dense_rows() -> Experiment:
    """How much do 8 or 24 dense rows bring to trees of neurons, and is it more than the same rows bring alone?"""
    trees: tuple[Flat, ...] = (
        {"ffn": "fff", "ffn.fff.depth": 7, "ffn.fff.trees": 1},
        {"ffn": "fff", "ffn.fff.depth": 4, "ffn.fff.trees": 4},
    )
    with_rows: list[Flat] = [{**tree, "ffn.fff.dense_rows": rows} for tree in trees for rows in (0, 8, 24)]
    alone: list[Flat] = [{"ffn": "mlp", "ffn.mlp.hidden": rows} for rows in (8, 24)]
    return Experiment(base=RECIPE, grid=[rated(variant) for variant in (*with_rows, *alone)], seeds=(0, 1, 2))
