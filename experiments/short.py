from experiments.minute import RECIPE
from search.experiment import Experiment


def short() -> Experiment:
    """How few epochs does vit_tiny need on CIFAR-10 for what `fast` reaches in 75, at half its batch and with cutout?"""
    return Experiment(
        base=RECIPE,
        grid=[
            {"augment": augment, "epochs": epochs}
            for augment, horizons in (("crop_pad_cutout", (25, 30, 35, 40)), ("crop_pad_alternate", (25, 30)))
            for epochs in horizons
        ],
        seeds=(0, 1),
        concurrency=1,
    )
