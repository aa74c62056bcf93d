"""From what a person or a sampler gave to the complete trial: what the data and the machine decide is filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from arch_space.cost import price
from arch_space.registry import FFN
from arch_space.shapes_only import shapes_only
from results.errors import InputError
from trainer.config import FlatValue, TrialConfig
from trainer.dataset import Dataset, Header, load_dataset, read_header

cached_dataset = lru_cache(maxsize=2)(load_dataset)
"""A worker that trains one trial after another reads and checks its data once."""


def resolve(flat: Mapping[str, object], *, on_gpu: bool, header: Header | None = None) -> TrialConfig:
    """The trial that `flat` stands for, with `classes` and `image_size` from its data and `precision` settled.

    Args:
        on_gpu: whether the trial will train on a GPU, which decides `precision=auto`.
        header: of the data set, where the caller has read it before; else it is read here.
    Raises:
        InputError: what `TrialConfig.from_flat` refuses; a data set that is missing or does not fit; a feed-forward that
            cannot be built at this width of the model, or has other parameters than its formula says.
    """
    data = str(flat.get("data", TrialConfig().data))
    header = header if header is not None else read_header(data)
    decided: dict[str, FlatValue] = {"classes": len(header.classes), "image_size": header.image_size}
    config = TrialConfig.from_flat({**decided, **flat})
    for key, value in decided.items():
        given = getattr(config.model, key)
        if given != value:
            raise InputError(f'The data set decides "{key}", but got {key}={given} where {data!r} has {value}.')
    if config.batch_size > header.counts["train"]:
        raise InputError(
            f'"batch_size" must be at most the number of training images, but got '
            f"(batch_size={config.batch_size}, {data!r} has {header.counts['train']})."
        )
    _require_buildable(config)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if on_gpu else "fp32"
    return TrialConfig.from_flat({**config.to_flat(), "precision": precision})


def _require_buildable(config: TrialConfig) -> None:
    """What depends on kind and width together is known to the module alone, such as a fan-in above the number of units."""
    try:
        with shapes_only(config.model.ffn.parameters(config.model.dim)):
            config.model.ffn.build(config.model.dim, config.model.dropout)
        price(config.model)
    except ValueError as error:
        raise InputError(str(error)) from error


def require_workers(config: TrialConfig, workers: int, header: Header) -> None:
    """Raises InputError where so many workers cannot share the trial's batches and images."""
    if config.micro_batch % workers:
        raise InputError(
            "The micro-batch (batch_size / accumulation) must divide by the trial's workers, but got "
            f"(batch_size={config.batch_size}, accumulation={config.accumulation}, workers={workers})."
        )
    images = min(header.counts["val"], header.counts["test"])
    if images < workers:
        raise InputError(
            f"Each worker of a trial must have an image to evaluate, but got (workers={workers}, validation or test "
            f"images={images})."
        )


def absolute_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths of variants as they are stored. Raises InputError for an empty one, which would mean all of this folder."""
    given = tuple(paths)
    if not all(given):
        raise InputError('"--variants" must name a folder or a Python file, but got nothing; try --variants my_kind.py')
    return tuple(str(Path(path).resolve()) for path in given)


def discover_variants(paths: Iterable[str]) -> None:
    """Load feed-forward kinds from files or folders outside the package.

    Raises:
        InputError: a path that is not there, a kind whose name is taken, or a file that cannot be loaded.
    """
    for path in paths:
        try:
            FFN.discover(path)
        except ValueError as error:
            raise InputError(str(error)) from error
        except (Exception, SystemExit) as error:  # a file may be a script that ends the process
            raise InputError(f"The variants in {path} could not be loaded: {type(error).__name__}: {error}") from error


__all__ = ["Dataset", "absolute_paths", "cached_dataset", "discover_variants", "require_workers", "resolve"]
