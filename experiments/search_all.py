from arch_space.space import Scope
from experiments.ideas import RECIPE
from search.experiment import Experiment
from search.space import suggest_ffn
from trainer.config import Flat

KINDS = ("mlp", "glu", "fff", "fff_fanout", "fff_soft", "flat", "csc")


def search_all() -> Experiment:
    """Which feed-forward part does one search over all kinds, sizes, layouts and learning rates find on CIFAR-10?"""
    return Experiment(base=RECIPE, space=space, trials=98, grace=3, reduction=3)


def space(scope: Scope) -> Flat:
    ffn = suggest_ffn(scope, KINDS)
    layout = scope.categorical("layout", ("single", "pair"))
    return {**ffn, "layout": layout, "lr": scope.float("lr", 3e-4, 3e-3, log=True)}
