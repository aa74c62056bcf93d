from experiments.minute import RECIPE
from search.experiment import Experiment


def five_minutes() -> Experiment:
    """Which augmentation and dropout let vit_tiny learn for 300 s on one H200, and not learn its images by heart?"""
    return Experiment(
        base={**RECIPE, "epochs": 730},
        grid=[  # crop_pad_cutout alone learns the images by heart before (results/LOG.md)
            {"augment": "crop_resized_cutout", "dropout": 0.0},
            {"augment": "crop_pad_cutout", "dropout": 0.1, "epochs": 600},  # dropout costs a fifth of an epoch
            {"augment": "crop_resized_cutout", "dropout": 0.1, "epochs": 600},
        ],
        seeds=(0,),
        concurrency=1,
    )
