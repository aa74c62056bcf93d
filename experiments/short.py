from experiments.fast import fast
from search.experiment import Experiment


def short() -> Experiment:
    """How few epochs does vit_tiny need on CIFAR-10 for what `fast` reaches in 75, at half its batch and with cutout?"""
    base = {key: value for key, value in fast().base.items() if key not in ("batch_size", "lr", "augment")}
    return Experiment(
        base={**base, "batch_size": 512, "lr": 4e-3, "ffn": "mlp", "ffn.mlp.hidden": 256},
        grid=[
            {"augment": augment, "epochs": epochs}
            for augment, horizons in (("crop_pad_cutout", (25, 30, 35, 40)), ("crop_pad_alternate", (25, 30)))
            for epochs in horizons
        ],
        seeds=(0, 1),
        concurrency=1,
    )
