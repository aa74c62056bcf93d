"""What `benchmarks.inference` times: a feed-forward with the model around it, its weights, and inputs that all differ."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arch_space.initialise import initialise
from arch_space.model import ModelConfig
from arch_space.registry import FFN, FeedForwardConfig
from arch_space.vit_tiny import VitTiny
from results.errors import InputError
from trainer.config import Flat, TrialConfig
from trainer.dataset import Dataset
from trainer.input_pipeline import EvalLoader
from trainer.located import Located, load_trained, locate
from trainer.recorded import recorded_dataset
from trainer.resolve import cached_dataset, resolve

WIDE: Flat = {"dim": 512}
"""The width of the baseline, unless another is asked for."""
DIGITS: Flat = {"data": "digits", "patch": 8, "depth": 2, "heads": 2, "batch_size": 64, **WIDE}
"""A model that is trained on two cores in seconds an epoch."""
IMAGES = 2048
"""Of a trial's images, so many give the tokens."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model with a feed-forward that has a conditional form."""

    model: VitTiny
    """In evaluation mode, on the CPU, in fp32."""
    config: ModelConfig
    weights: str
    """Where they come from, in a few words."""
    tokens: Tensor | None = None
    """(N, D): what the images bring to the first block's feed-forward; none = drawn from N(0, 1) when they are needed."""
    images: Tensor | None = None
    """(N, 3, S, S), each another; none = drawn."""

    @property
    def module(self) -> nn.Module:
        """The first block's feed-forward."""
        return self.model.blocks[0].ffn  # type: ignore[return-value]

    @property
    def name(self) -> str:
        """The kind, and those of its fields that are not its defaults."""
        ffn: Any = self.config.ffn
        plain = type(ffn)()
        told = [
            f"{f.name}={getattr(ffn, f.name)}" for f in fields(ffn) if getattr(ffn, f.name) != getattr(plain, f.name)
        ]
        return " ".join((FFN.kind_of(ffn), *told))


def conditional_kinds() -> list[str]:
    """The registered kinds whose module has a conditional form."""
    with torch.device("meta"):
        return [kind for kind in FFN.kinds() if hasattr(FFN.config(kind)().build(8, 0.0), "forward_conditional")]


def untrained(kind: str, changes: Mapping[str, Any]) -> Subject:
    """vit_tiny with the kind's defaults, but for `changes`, at the start of training.

    Raises:
        InputError: values that make no model, or a kind without a conditional form.
    """
    config = TrialConfig.from_flat({**WIDE, **changes, "ffn": kind}).model  # which refuses unknown keys
    model = config.build()
    initialise(model, 0)
    return _checked(Subject(model=model.eval(), config=config, weights="start"))


def trained_on_digits(kind: str, changes: Mapping[str, Any], epochs: int) -> Subject:
    """As `untrained`, after so many epochs on the embedded digits, whose validation images then give the tokens."""
    from trainer.engine import device_of
    from trainer.trial import Trial

    on_gpu = torch.cuda.is_available()
    config = resolve({**DIGITS, **changes, "ffn": kind, "epochs": epochs, "warmup_epochs": 0.0}, on_gpu=on_gpu)
    _checked(Subject(model=config.model.build(), config=config.model, weights=""))
    dataset = cached_dataset(config.data)
    with tempfile.TemporaryDirectory(prefix="arbor-inference-") as name:
        folder = Path(name)
        with closing(Trial(config, folder, device=device_of(on_gpu), threads=torch.get_num_threads())) as trial:
            for _ in trial.reports():
                pass
        model = load_trained(Located(path=folder / "selected.pt", row=None)).model
    return _with_images(model, config, dataset, f"{epochs} epochs of {config.data}")


def of_trial(trial: str, storage: str) -> Subject:
    """The trained model of a trial or a checkpoint's file, and its own validation images.

    Raises:
        InputError: no such trial, its data are missing, or its kind has no conditional form.
    """
    located = locate(trial, storage)
    trained = load_trained(located)
    _checked(Subject(model=trained.model, config=trained.config.model, weights=trial))
    dataset = recorded_dataset(trained.config, located.row)
    return _with_images(trained.model, trained.config, dataset, trial)


def _checked(subject: Subject) -> Subject:
    if not hasattr(subject.module, "forward_conditional"):
        raise InputError(
            f"Only a kind with a conditional form can be timed in both, but {subject.name.split()[0]!r} has none; "
            f"known: {', '.join(conditional_kinds())}."
        )
    return subject


@torch.no_grad()
def _with_images(model: VitTiny, config: TrialConfig, dataset: Dataset, weights: str) -> Subject:
    device = torch.device("cpu")
    loader = EvalLoader(dataset.val, dataset=dataset, batch_size=128, augment=config.augment, device=device)
    images = torch.cat([batch.images.clone() for batch in loader])[:IMAGES]
    loader.close()
    seen: list[Tensor] = []
    module = model.blocks[0].ffn
    assert isinstance(module, nn.Module)
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, 1)))
    for part in images.split(128):
        model(part)
    hook.remove()
    tokens = torch.cat(seen)
    shuffled = tokens[torch.randperm(len(tokens))]  # a batch holds tokens of many images, at all places
    return Subject(model=model, config=config.model, weights=weights, tokens=shuffled, images=images)


def with_ffn(config: ModelConfig, ffn: FeedForwardConfig) -> VitTiny:
    """The same model around another feed-forward, at its start, in evaluation mode."""
    model = ModelConfig.from_flat(
        {
            **{key: value for key, value in config.to_flat().items() if key.partition(".")[0] != "ffn"},
            **{f"ffn.{FFN.kind_of(ffn)}.{f.name}": getattr(ffn, f.name) for f in fields(ffn)},  # type: ignore[arg-type]
            "ffn": FFN.kind_of(ffn),
        }
    ).build()
    initialise(model, 0)
    return model.eval()
