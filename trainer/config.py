"""The trial as one flat dictionary, and the typed configuration that it stands for.

`TrialConfig.from_flat` is the boundary through which every trial passes, whoever made it (a sampler, an experiment, the
command line, a stored row): it refuses unknown keys with the nearest known one, converts text, and checks ranges.
`to_flat` writes every value, defaults included, so that a stored row stays true when a default changes later (`YOUNGER` says
which keys it leaves out).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Self

from arch_space.flat import convert, refuse_unknown, require
from arch_space.model import ModelConfig
from results.errors import InputError
from trainer.level_rates import level_rates_of

FlatValue = int | float | str | bool | None
Flat = dict[str, FlatValue]

YOUNGER: Flat = {"zero_stage": 0}
"""Keys that came later and change no result, with the value that rows without them mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialConfig:
    """One trial: the model, and how it is trained. Raises ValueError where a value is out of range."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: str = "digits"
    """Name of a packed data set in the data folder, or the path of one."""
    seed: int = 0
    """Fixes initialisation, data order and augmentation, and dropout."""
    epochs: int = 30
    """The full horizon of the schedule, whatever early stopping does to the trial."""
    batch_size: int = 512
    """Images per optimizer step, over all workers and accumulated micro-batches."""
    accumulation: int = 1
    """Micro-batches into which one optimizer step is cut; must divide `batch_size`."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """muon: matrices by Muon, the rest by AdamW; without rates by tree level. sgd: Nesterov momentum 0.9."""
    lr: float = 1e-3
    """The schedule's highest learning rate; muon's matrices move at the scale of AdamW's."""
    weight_decay: float = 0.05
    """Decay of matrices, decoupled but for sgd; biases, norms, tokens and positions are not decayed."""
    schedule: Literal["cosine", "linear", "onecycle"] = "cosine"
    """cosine, linear: warm-up, then to 0 over `epochs`. onecycle: up and down over `cycle_steps` optimizer steps."""
    warmup_epochs: float = 1.0
    cycle_steps: int = 4000
    """Length of `schedule=onecycle` in optimizer steps; unused by cosine."""
    clip_norm: float = 1.0
    """Largest global gradient norm; 0 clips nothing."""
    label_smoothing: float = 0.0
    augment: Literal[
        "crop_resized", "crop_pad", "crop_pad_alternate", "crop_pad_cutout", "crop_resized_cutout", "seed", "none"
    ] = "crop_resized"
    """crop_resized: a random window at full size, flipped. crop_pad: shifted by up to 4 pixels, flipped; _alternate: each
    image flipped in every other epoch (arXiv 2404.00498); _cutout: that with a hole of 16 pixels (arXiv 1708.04552), for
    long training. seed: the predecessor's. The draws are in `trainer.augment`."""
    patience: int | None = None
    """Epochs without a lower validation loss after which the trial ends as `plateau`; none = never."""
    zero_stage: int = 0
    """DeepSpeed's ZeRO among the workers of a trial: 1 cuts the optimizer's state, 2 its gradients, too."""
    select: Literal["last", "best"] = "last"
    """The checkpoint that is kept and tested: of the last epoch, or of the highest validation accuracy."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 (autocast over fp32 weights) on a GPU, fp32 on a CPU. A stored row never says auto."""
    compile: bool = True
    """On a GPU, train by compiled blocks as soon as their code is there and the rest of the trial repays loading it."""
    deterministic: bool = False
    """Only kernels that give the same bits in every run, never compiled: a replay on the same GPU is then exact."""

    def __post_init__(self) -> None:
        require(bool(self.data), "data", "must name a data set", self.data)
        require(0 <= self.seed < 2**31, "seed", "must be from 0 to 2147483647", self.seed)
        require(self.epochs >= 1, "epochs", "must be at least 1", self.epochs)
        require(self.batch_size >= 1, "batch_size", "must be at least 1", self.batch_size)
        require(self.accumulation >= 1, "accumulation", "must be at least 1", self.accumulation)
        if self.batch_size % self.accumulation:
            raise ValueError(
                'The batch size must divide by "accumulation", '
                f"but got (batch_size={self.batch_size}, accumulation={self.accumulation})."
            )
        require(0 < self.lr <= 100, "lr", "must be above 0 and at most 100", self.lr)
        if self.optimizer == "muon" and level_rates_of(self.model.ffn):
            raise ValueError(
                'Learning rates by tree level need "optimizer" to be adamw or sgd, '
                f"but got (optimizer=muon, level_lr_ratio={getattr(self.model.ffn, 'level_lr_ratio', '?')})."
            )
        require(0 <= self.weight_decay < 10, "weight_decay", "must be from 0 to below 10", self.weight_decay)
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                'The warm-up must be from 0 to "epochs", '
                f"but got (warmup_epochs={self.warmup_epochs:g}, epochs={self.epochs})."
            )
        require(self.cycle_steps >= 2, "cycle_steps", "must be at least 2", self.cycle_steps)
        require(self.clip_norm >= 0, "clip_norm", "must be at least 0", self.clip_norm)
        require(0 <= self.label_smoothing < 1, "label_smoothing", "must be from 0 to below 1", self.label_smoothing)
        require(
            0 <= self.zero_stage <= 2,
            "zero_stage",
            "must be 0, 1 or 2 (3 would cut the weights, which evaluation and diagnostics need whole)",
            self.zero_stage,
        )
        if self.zero_stage and (self.optimizer == "muon" or level_rates_of(self.model.ffn)):
            raise ValueError(
                '"zero_stage" above 0 lays all weights into one row, so it must go with adamw or sgd and without rates by '
                f"tree level, but got (zero_stage={self.zero_stage}, optimizer={self.optimizer}, "
                f"level_lr_ratio={getattr(self.model.ffn, 'level_lr_ratio', 1.0)})."
            )
        require(self.patience is None or self.patience >= 1, "patience", "must be at least 1 or none", self.patience)

    @classmethod
    def from_flat(cls, flat: Mapping[str, object]) -> Self:
        """The configuration that a flat dictionary stands for; missing keys take their defaults.

        Raises:
            InputError: an unknown key (the nearest known one is named), a wrong type, or a value out of range.
        """
        try:
            model = ModelConfig.from_flat(flat)
            refuse_unknown(flat, own_keys() | ModelConfig.keys(flat))
            hints = _annotations()
            values = {key: convert(hints[key], flat[key], key) for key in own_keys() if key in flat}
            return cls(model=model, **values)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from error

    def to_flat(self) -> Flat:
        """Every value under its key: the model's first, then the training's.

        But for what is younger than rows of the same training and stands where it stood then: their variants stay theirs.
        """
        own = {key: getattr(self, key) for key in _own_fields()}
        return {**self.model.to_flat(), **{key: value for key, value in own.items() if YOUNGER.get(key, ...) != value}}

    @property
    def micro_batch(self) -> int:
        """Images per forward pass."""
        return self.batch_size // self.accumulation


def _own_fields() -> tuple[str, ...]:
    return tuple(f.name for f in fields(TrialConfig) if f.name != "model")


def own_keys() -> frozenset[str]:
    """The trial's keys which are not the model's."""
    return frozenset(_own_fields())


def _annotations() -> dict[str, object]:
    from typing import get_type_hints

    return get_type_hints(TrialConfig)


def parse_pairs(pairs: list[str]) -> dict[str, str]:
    """`["lr=1e-3", "ffn=fff"]` as a dictionary of text.

    Raises:
        InputError: a word without "=", or a key given twice.
    """
    flat: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"A trial is given as KEY=VALUE, but got {pair!r}; try for instance lr=1e-3.")
        if key in flat:
            raise InputError(f"Each key may be given once, but got {key!r} twice ({flat[key]!r} and {value!r}).")
        flat[key] = value
    return flat
