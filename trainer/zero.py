"""The optimizer of an engine whatever its ZeRO stage: one state, by parameter, in one file.

Under ZeRO (arXiv 1910.02054) stages 1 and 2 DeepSpeed lays the parameters of a group one after another into a flat buffer,
of which each rank's optimizer has a part: torch's optimizer then sees one parameter a group, without its names and shapes.
Here those parts are put together and taken apart, so that a checkpoint is what stage 0 writes, and any number of workers
can go on with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.ranks import Ranks

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def torch_optimizer(engine: DeepSpeedEngine) -> torch.optim.Optimizer:
    """The optimizer that steps, under whatever DeepSpeed has put around it."""
    optimizer = engine.optimizer
    return optimizer.optimizer if _is_cut(engine) else optimizer


def optimizer_state(engine: DeepSpeedEngine, ranks: Ranks) -> dict[str, Any]:
    """As `torch.optim.Optimizer.state_dict` of the whole, uncut optimizer. Every rank calls it."""
    optimizer = torch_optimizer(engine)
    if not _is_cut(engine):
        return optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    groups: list[dict[str, Any]] = []
    for group, part, places in _groups(engine):
        for index, _, _ in places:
            state[index] = {}
        for name, value in optimizer.state[part].items():
            whole = torch.cat(ranks.gather(value.detach())) if value.shape == part.shape else None
            for index, parameter, offset in places:
                if whole is None:  # of all elements alike, such as the number of steps
                    state[index][name] = value.detach().clone()
                else:
                    state[index][name] = whole.narrow(0, offset, parameter.numel()).view(parameter.shape).clone()
        rest = {key: value for key, value in group.items() if key != "params"}
        groups.append({**rest, "params": [index for index, _, _ in places]})
    return {"state": state, "param_groups": groups}


def load_optimizer_state(engine: DeepSpeedEngine, content: dict[str, Any], ranks: Ranks) -> None:
    """Take up what `optimizer_state` gave, of any stage and number of workers; the model has its weights already.

    A rank that holds a part of the weights in its optimizer, too, copies that from the model.
    """
    optimizer = torch_optimizer(engine)
    if not _is_cut(engine):
        optimizer.load_state_dict(content)
        return
    engine.optimizer.refresh_fp32_params()
    for _, part, places in _groups(engine):
        own: dict[str, Tensor] = {}
        for index, parameter, offset in places:
            for name, value in content["state"].get(index, {}).items():
                if value.shape != parameter.shape:
                    own[name] = value.clone()
                    continue
                if name not in own:
                    own[name] = part.new_zeros(len(part) * ranks.size)
                own[name].narrow(0, offset, parameter.numel()).copy_(value.flatten())
        first = ranks.rank * len(part)
        optimizer.state[part] = {
            name: value if value.ndim == 0 else value.narrow(0, first, len(part)).clone() for name, value in own.items()
        }


def _is_cut(engine: DeepSpeedEngine) -> bool:
    return bool(engine.zero_optimization_stage())


def _groups(engine: DeepSpeedEngine) -> Iterator[tuple[dict[str, Any], Tensor, list[tuple[int, Tensor, int]]]]:
    """Each group of torch's optimizer, this rank's part of its flat buffer, and the parameters that the buffer holds.

    Of each parameter its place in an uncut optimizer, itself, and where it begins in the buffer.
    """
    zero = engine.optimizer
    first = 0
    for number, group in enumerate(zero.optimizer.param_groups):
        beginnings = {
            id(parameter): offset
            for parameter, offset in zip(
                zero.round_robin_bit16_groups[number], zero.round_robin_bit16_offsets[number], strict=True
            )
        }
        parameters = zero.bit16_groups[number]
        places = [(first + place, parameter, beginnings[id(parameter)]) for place, parameter in enumerate(parameters)]
        yield group, zero.single_partition_of_fp32_groups[number], places
        first += len(parameters)
