from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from search.match import Match
from trainer.config import Flat


def matched() -> Experiment:
    """Which kind is best at equal parameters, at equal neurons used, and at equal conditional multiply-adds?"""
    shapes: list[Flat] = [  # their widths are solved
        {"ffn": "mlp"},
        {"ffn": "glu"},
        {"ffn": "fff", "ffn.fff.depth": 7},
        {"ffn": "fff", "ffn.fff.depth": 4},
        {"ffn": "fff_fanout", "ffn.fff_fanout.fanout": 4, "ffn.fff_fanout.depth": 2},
        {"ffn": "fff_soft", "ffn.fff_soft.depth": 4},
        {"ffn": "flat"},
        {"ffn": "csc"},
    ]
    return Experiment(
        base=RECIPE,
        grid=[rated(shape) for shape in shapes],
        match=[
            Match(measure="parameters", target={"ffn": "mlp", "ffn.mlp.hidden": 256}),
            Match(measure="neurons_used", target={"ffn": "mlp", "ffn.mlp.hidden": 24}),
            Match(measure="macs_conditional", target={"ffn": "mlp", "ffn.mlp.hidden": 24}),
        ],
        seeds=(0, 1, 2),
    )
