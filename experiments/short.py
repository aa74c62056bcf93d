from experiments.minute import RECIPE
from search.experiment import Experiment
from trainer.config import Flat


def short() -> Experiment:
    """In how few epochs does vit_tiny reach on CIFAR-10 what Muon at batch 1,024 reached in 75?"""
    plain: Flat = {"augment": "crop_pad_alternate"}
    at_512: list[Flat] = [
        {"lr": lr, "epochs": epochs} for lr, epochs in ((6e-3, 22), (6e-3, 25), (6e-3, 30), (4e-3, 25), (4e-3, 30))
    ]
    too_high: list[Flat] = [{"lr": 8e-3, "epochs": epochs} for epochs in (20, 25)]
    uncut: list[Flat] = [{**plain, "lr": 4e-3, "epochs": epochs} for epochs in (20, 25, 30, 35)]
    return Experiment(
        base=RECIPE,
        grid=[
            *at_512,
            *too_high,
            *uncut,
            {**plain, "lr": 6e-3, "epochs": 25},
            {**plain, "lr": 4e-3, "epochs": 25, "warmup_epochs": 1.0},
            *({**plain, "lr": 3e-3, "epochs": epochs, "batch_size": 256} for epochs in (20, 25)),
        ],
        seeds=(0, 1),
        concurrency=1,
    )
