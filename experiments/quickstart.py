from arch_space.space import Scope
from search.experiment import Experiment
from search.space import suggest_ffn
from trainer.config import Flat


def quickstart() -> Experiment:
    """Which feed-forward part reads handwritten digits best: dense, pairs of dense, or a tree of neurons?"""
    return Experiment(
        base={
            "data": "digits",
            "epochs": 12,
            "batch_size": 64,
            # few tokens and a narrow model: two minutes on two CPU cores
            "patch": 8,
            "dim": 64,
            "depth": 2,
            "heads": 2,
            "weight_decay": 0.05,
        },
        space=space,
        ranges={"ffn.mlp.hidden": (8, 256), "ffn.fff.depth": (2, 6), "ffn.fff.trees": (1, 4)},
        trials=18,
        grace=3,
        reduction=2,
    )


def space(scope: Scope) -> Flat:
    ffn = suggest_ffn(scope, ("mlp", "fff"))
    layout = scope.categorical("layout", ("single", "pair")) if ffn["ffn"] == "mlp" else "single"
    return {**ffn, "layout": layout, "lr": scope.float("lr", 5e-4, 8e-3, log=True)}
