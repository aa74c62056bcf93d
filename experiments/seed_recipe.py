from search.experiment import Experiment


def seed_recipe() -> Experiment:
    """What does cifar10deepspeed's own recipe reach, when the images that choose the checkpoint are not the test's?"""
    return Experiment(
        base={
            "data": "cifar10",
            # the published run: 3 cards, each 256 images twice accumulated
            "batch_size": 1536,
            "accumulation": 6,
            "lr": 4e-3,
            "schedule": "onecycle",
            "cycle_steps": 4000,
            "weight_decay": 3e-7,
            "clip_norm": 5.0,
            "augment": "seed",
            "epochs": 300,
            "patience": 50,
            "select": "best",
        },
        grid=[{"ffn": "mlp", "ffn.mlp.hidden": 256}],
        seeds=(0,),
    )
