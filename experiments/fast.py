from search.experiment import Experiment


def fast() -> Experiment:
    """What does vit_tiny reach on CIFAR-10 within half a minute on one H200, trained on 45,000 images alone?"""
    return Experiment(
        base={
            "data": "cifar10",
            "epochs": 28,
            "batch_size": 512,
            "optimizer": "muon",
            "lr": 6e-3,
            "weight_decay": 0.1,
            "schedule": "linear",
            "warmup_epochs": 2.0,
            "dropout": 0.0,
            "label_smoothing": 0.1,
            "augment": "crop_pad_cutout",
        },
        grid=[{"ffn": "mlp", "ffn.mlp.hidden": 256}],
        seeds=(0, 1, 2, 3, 4),
        concurrency=1,
    )
