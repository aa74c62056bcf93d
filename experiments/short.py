from experiments.fast import fast
from search.experiment import Experiment


def short() -> Experiment:
    """How few epochs does vit_tiny need on CIFAR-10 for what `fast` reaches in 75, at smaller batches?"""
    base = {key: value for key, value in fast().base.items() if key not in ("batch_size", "lr", "epochs")}
    return Experiment(
        base={**base, "ffn": "mlp", "ffn.mlp.hidden": 256, "epochs": 75},
        grid=[
            {"batch_size": 512, "lr": 4e-3, "epochs": 30},
            {"batch_size": 512, "lr": 4e-3, "epochs": 35},
            {"batch_size": 512, "lr": 4e-3, "epochs": 40},
            {"batch_size": 512, "lr": 6e-3, "epochs": 35},
            {"batch_size": 256, "lr": 3e-3, "epochs": 30},
        ],
        seeds=(0, 1),
        concurrency=1,
    )
