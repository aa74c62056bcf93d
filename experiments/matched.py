from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from search.match import Match


def matched() -> Experiment:
    """Which kind is best at equal parameters, at equal neurons used, and at equal conditional multiply-adds?"""
    return Experiment(
        base=RECIPE,
        # no width is given where a kind has another one: it is solved
        grid=[
            rated(variant)
            for variant in (
                {"ffn": "mlp"},
                {"ffn": "glu"},
                {"ffn": "fff", "ffn.fff.depth": 7},
                {"ffn": "fff", "ffn.fff.depth": 4},
                {"ffn": "fff_fanout", "ffn.fff_fanout.fanout": 4, "ffn.fff_fanout.depth": 2},
                {"ffn": "fff_soft"},
                {"ffn": "flat"},
                {"ffn": "csc"},
            )
        ],
        match=[
            Match(measure="parameters", target={"ffn": "mlp", "ffn.mlp.hidden": 256}),
            Match(measure="neurons_used", target={"ffn": "mlp", "ffn.mlp.hidden": 32}),
            Match(measure="macs_conditional", target={"ffn": "mlp", "ffn.mlp.hidden": 32}),
        ],
        seeds=(0, 1, 2),
    )
