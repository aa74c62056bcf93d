from experiments.fast import fast
from search.experiment import Experiment
from trainer.config import Flat


def recipes() -> Experiment:
    """How should vit_tiny be trained on CIFAR-10: what does each recipe reach in 30 epochs?"""
    quick: Flat = {**fast().base, "ffn": "mlp", "ffn.mlp.hidden": 256}
    large: Flat = {**quick, "batch_size": 1024, "augment": "crop_pad_alternate"}
    usual: Flat = {
        "ffn": "mlp",
        "ffn.mlp.hidden": 256,
        "batch_size": 512,
        "optimizer": "adamw",
        "lr": 1e-3,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup_epochs": 1.0,
        "dropout": 0.1,
        "label_smoothing": 0.0,
        "augment": "crop_resized",
    }
    grid: list[Flat] = [
        usual,
        {**usual, "dropout": 0.0, "augment": "crop_pad_alternate", "label_smoothing": 0.1, "schedule": "linear"},
        {**large, "optimizer": "adamw", "lr": 2e-3},
        {**large, "optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4},
        {**quick, "augment": "crop_pad_alternate", "lr": 4e-3},
        {**large, "augment": "crop_resized"},
        large,
        quick,
    ]
    own = ("data", "epochs")
    return Experiment(
        base={"data": "cifar10", "epochs": 30},
        grid=[{key: value for key, value in variant.items() if key not in own} for variant in grid],
        seeds=(0,),
        concurrency=1,
    )
