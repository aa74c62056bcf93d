from arch_space.space import Scope
from search.experiment import Experiment
from search.space import suggest_ffn
from trainer.config import Flat


def fff_vs_dense() -> Experiment:
    """Does a tree of neurons come near a dense feed-forward part on CIFAR-10, at any size and learning rate?"""
    return Experiment(
        base={"data": "cifar10", "epochs": 18, "batch_size": 512},
        space=space,
        ranges={"ffn.mlp.hidden": (8, 512), "ffn.fff.depth": (2, 8), "ffn.fff.trees": (1, 8)},
        trials=32,
        grace=2,
        reduction=3,
    )


def space(scope: Scope) -> Flat:
    ffn = suggest_ffn(scope, ("mlp", "fff"))
    layout = scope.categorical("layout", ("single", "pair"))
    return {**ffn, "layout": layout, "lr": scope.float("lr", 3e-4, 3e-3, log=True)}
