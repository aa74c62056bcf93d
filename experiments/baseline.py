from search.experiment import Experiment


def baseline() -> Experiment:
    """How much accuracy do a wider dense layer and a pair of layers bring to vit_tiny on CIFAR-10?"""
    return Experiment(
        base={"data": "cifar10", "epochs": 30, "batch_size": 512, "lr": 1e-3},
        grid=[
            {"ffn": "mlp", "ffn.mlp.hidden": 8},
            {"ffn": "mlp", "ffn.mlp.hidden": 64},
            {"ffn": "mlp", "ffn.mlp.hidden": 256},
            {"ffn": "mlp", "ffn.mlp.hidden": 256, "layout": "pair"},
        ],
        seeds=(0, 1, 2),
    )
