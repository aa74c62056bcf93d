from search.experiment import Experiment
from trainer.config import Flat


def gangs() -> Experiment:
    """What do two GPUs give one trial: of vit_tiny, and of a model in which the arithmetic dominates?"""
    wide: Flat = {"dim": 1024, "depth": 8, "heads": 16, "ffn.mlp.hidden": 4096, "lr": 3e-4}
    return Experiment(
        base={"data": "cifar10", "epochs": 5, "batch_size": 1024, "optimizer": "adamw", "schedule": "linear",
              "dropout": 0.0, "augment": "crop_pad_alternate", "ffn": "mlp"},
        grid=[{"ffn.mlp.hidden": 256, "lr": 2e-3}, wide],
        seeds=(0,),
        concurrency=1,
    )  # fmt: skip
