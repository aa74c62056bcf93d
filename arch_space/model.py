"""The model's configuration: a frozen value that is built, written flat and read back.

Flat keys are the field names, `ffn` for the kind of feed-forward and `ffn.<kind>.<field>` for that kind's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from arch_space.ffn.mlp import MLPConfig
from arch_space.flat import (
    Scalar,
    convert,
    field_keys,
    from_flat,
    read_fields,
    refuse_unknown,
    require,
    require_between,
    to_flat,
)
from arch_space.registry import FFN, FeedForwardConfig
from arch_space.vit_tiny import VitTiny

_DEFAULT_KIND = "mlp"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """vit_tiny (arXiv 2112.13492) with any registered feed-forward. Raises ValueError for values out of range."""

    dim: int = 512
    """D, the model's width."""

    depth: int = 4
    """Number of blocks."""

    heads: int = 6
    """Attention heads of 64 each, whatever `dim` is."""

    patch: int = 4
    """Side of a patch in pixels; divides `image_size`."""

    layout: Literal["single", "pair"] = "single"
    """single: a feed-forward after attention; pair: one before and one after (macaron's order, arXiv 1906.02762)."""

    dropout: float = 0.1
    """After the positions, after attention's output and inside a dense feed-forward; none inside a tree."""

    classes: int = 10
    """Number of classes, from the data set in training."""

    image_size: int = 32
    """Side of the image in pixels, from the data set in training."""

    ffn: FeedForwardConfig = field(default_factory=MLPConfig)
    """The config of a registered feed-forward kind."""

    def __post_init__(self) -> None:
        require_between("dim", self.dim, 1, 65_536)
        require_between("depth", self.depth, 1, 1_000)
        require_between("heads", self.heads, 1, 1_024)
        require_between("patch", self.patch, 1, 4_096)
        require_between("classes", self.classes, 2, 1_000_000)
        require_between("image_size", self.image_size, 1, 4_096)
        require(self.layout in ("single", "pair"), "layout", "must be one of single, pair", self.layout)
        require(0 <= self.dropout < 1, "dropout", "must be at least 0 and below 1", self.dropout)
        if self.image_size % self.patch:
            raise ValueError(
                f'The image size must divide by "patch", but got (image_size={self.image_size}, patch={self.patch}).'
            )

    @property
    def tokens(self) -> int:
        """T: the patches and the class token."""
        return (self.image_size // self.patch) ** 2 + 1

    @property
    def feed_forwards(self) -> int:
        """Feed-forward modules in a block."""
        return 2 if self.layout == "pair" else 1

    def build(self) -> VitTiny:
        """The model, (B, 3, S, S) -> (B, classes); started by torch's global state until `initialise` is called."""
        return VitTiny(self)

    def to_flat(self) -> dict[str, Scalar]:
        """Every value, defaults included; of the feed-forward kinds, the active one's keys only."""
        kind = FFN.kind_of(self.ffn)
        return {**to_flat(self, skip=("ffn",)), "ffn": kind, **to_flat(self.ffn, f"ffn.{kind}.")}

    @classmethod
    def from_flat(cls, flat: Mapping[str, object]) -> Self:
        """Reads the model's keys and leaves others alone, but refuses any `ffn.` key that is not the active kind's.

        Raises ValueError with one sentence that names the key, the rule and the value.
        """
        kind = _active_kind(flat)
        _refuse_foreign_ffn_keys(flat, kind)
        ffn = from_flat(FFN.config(kind), flat, f"ffn.{kind}.")
        return cls(**read_fields(cls, flat, skip=("ffn",)), ffn=ffn)

    @classmethod
    def keys(cls, flat: Mapping[str, object]) -> set[str]:
        """All keys of a model with the kind that `flat` names under `ffn` (mlp if it names none)."""
        return field_keys(cls) | _ffn_keys(_active_kind(flat))


def _active_kind(flat: Mapping[str, object]) -> str:
    kind: str = convert(str, flat.get("ffn", _DEFAULT_KIND), "ffn")
    FFN.config(kind)
    return kind


def _ffn_keys(kind: str) -> set[str]:
    return field_keys(FFN.config(kind), f"ffn.{kind}.")


def _refuse_foreign_ffn_keys(flat: Mapping[str, object], active: str) -> None:
    owner = {key: kind for kind in FFN.kinds() for key in _ffn_keys(kind)}
    given = [key for key in flat if key.startswith("ffn.")]
    refuse_unknown(given, owner)
    for key in given:
        if owner[key] != active:
            raise ValueError(
                f"Key {key!r} belongs to the feed-forward kind {owner[key]!r}, but the active kind is {active!r}; "
                f"set ffn={owner[key]} or leave the key out."
            )
