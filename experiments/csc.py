from experiments.ideas import RECIPE, rated
from search.experiment import Experiment
from trainer.config import Flat


def csc() -> Experiment:
    """What do cyclic sparse layers reach alone, at several fan-ins, and what do they add to a small dense layer?"""
    chains: list[Flat] = [{"ffn": "csc", "ffn.csc.fanin": fanin, "ffn.csc.hidden": 512} for fanin in (2, 4, 8, 16)]
    mixes: list[Flat] = [{**chain, "ffn.csc.mode": "mix"} for chain in chains[1:3]]
    return Experiment(base=RECIPE, grid=[rated(variant) for variant in (*chains, *mixes)], seeds=(0, 1, 2))
