"""How a model's trees are used, once an epoch: dead leaves, entropy, changes of path, gradients by level.

A fixed probe, the first validation images, goes through the model as it stands: eager, in evaluation mode, with gradients
of its own that no parameter keeps and no random numbers. The epoch before it is not slowed, and nothing of it changes. On a
GPU the second measurement is recorded as a CUDA graph for those that follow, which spares the host the launches of some
hundred small kernels.
Which modules are trees they say themselves: `trees`, `leaf_count`, `leaves(x)` and `levels()`, as in `arch_space.ffn.fff`.

Of each such module, over its inputs (one a token that it sees) and its trees:

    dead_leaves             share of the leaves that no input reaches; few inputs leave some out by chance
    leaf_entropy            - sum of p log p / log(leaves), p the share of inputs in a leaf: 1 for even use, 0 for one leaf
    path_agreement          share of inputs whose leaf is that of the epoch before; none in the first epoch
    gradient_norm_by_level  norm of the gradient of the probe's mean cross-entropy over all rows of a level, root first
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.compiled import uncompiled
from trainer.input_pipeline import Batch, EvalLoader
from trainer.recording import Recording, record

PROBE = 256
"""Images of the probe, at most."""
SHARE = 16
"""The probe has at most one image for so many of an epoch's, so that small data are not slowed by it."""
HISTOGRAM = 4096
"""Leaves of a module up to which the number of visits of each is reported at the end."""
LISTED = 16
"""Modules up to which each has its own numbers beside the means."""
MEANS = ("dead_leaves", "leaf_entropy", "path_agreement")


def tree_diagnostics(
    model: nn.Module, loader: EvalLoader, precision: str, leaves: dict[str, Tensor], *, trained: int
) -> Diagnostics | None:
    """What measures `model`'s trees on the first images that `loader` gives; None where no module is a tree with a choice.

    `leaves` are those of the epoch before, of a trial that goes on; else empty. `trained`: images of an epoch.
    """
    trees = {name: module for name, module in model.named_modules() if getattr(module, "leaf_count", 1) > 1}
    if not trees:
        return None
    images, labels = next(iter(loader))
    size = min(PROBE, max(1, trained // SHARE))
    probe = Batch(images[:size].clone(), labels[:size].clone())
    return Diagnostics(model, trees, probe, precision, leaves)


class Diagnostics:
    """The measurements of one model, epoch after epoch.

    Args:
        trees: the modules to measure by their names in `model`.
        probe: on the model's device; kept.
        leaves: of the epoch before, by module; empty where there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        trees: dict[str, Any],
        probe: Batch,
        precision: str,
        leaves: dict[str, Tensor],
    ) -> None:
        self._model, self._trees, self._probe = model, trees, probe
        self._device, self._precision = probe.images.device, precision
        self._levels = {
            name: [(tree.get_parameter(own), rows.to(self._device)) for own, rows in tree.levels().items()]
            for name, tree in trees.items()
        }
        self._depths = {
            name: 1 + max((int(rows.max()) for rows in tree.levels().values()), default=-1)
            for name, tree in trees.items()
        }
        self._side = torch.cuda.Stream() if self._device.type == "cuda" else None
        self._recording: Recording[Tensor] | None = None
        self.refused: str | None = None
        """Why it could not be recorded, in CUDA's words."""
        self.leaves = leaves
        """The probe's leaves in the last epoch measured, (inputs, trees) of each module; what resuming needs."""

    def measure(self, *, histogram: bool) -> dict[str, Any]:
        """The numbers of this epoch, plain; reads the device once. `histogram` adds `leaf_visits`, tree by tree.

        Means over the modules, and under `modules` those of each of a few. What is not finite, or not defined, is None.
        """
        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream())
        recorded = self._side is not None and self.leaves and not histogram
        with torch.cuda.stream(self._side):  # nothing on a CPU; what is recorded must not be on the default stream
            numbers = (self._replayed() if recorded else self._figures(histogram=histogram)).tolist()
        return self._named(iter(numbers), histogram)

    def _figures(self, *, histogram: bool) -> Tensor:
        """All numbers, one after another, float64; the leaves are kept."""
        leaves, gradients = self._pass()
        figures: list[Tensor] = []
        for name, tree in self._trees.items():
            visits = _visits(leaves[name], tree.leaf_count)
            figures += _shares(visits, leaves[name], self.leaves.get(name))
            figures.append(self._norms(name, gradients[name]))
            if histogram and visits.numel() <= HISTOGRAM:
                figures.append(visits.flatten())
        for name, each in leaves.items():
            if (kept := self.leaves.get(name)) is not None and kept.shape == each.shape:
                kept.copy_(each)  # a recording writes where it has read
            else:
                self.leaves[name] = each.to(_smallest(self._trees[name].leaf_count))
        return torch.cat([figure.double().reshape(-1) for figure in figures])

    def _replayed(self) -> Tensor:
        """`_figures` without a histogram, by a recording where that can be made."""
        assert self._side is not None
        if self._recording is None and self.refused is None:
            try:
                self._recording = record(lambda: self._figures(histogram=False), self._side)
            except RuntimeError as error:  # of a kind that reads a value on the host
                self.refused = str(error).splitlines()[0]
        if self._recording is None:
            return self._figures(histogram=False)
        self._recording.graph.replay()
        return self._recording.made

    def _pass(self) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
        """The leaf of each input in each tree, and the gradients of the parameters that have levels."""
        leaves: dict[str, Tensor] = {}
        wanted = [parameter for pairs in self._levels.values() for parameter, _ in pairs]
        with _probing(self._model, self._trees), _inputs_seen(self._trees, leaves), torch.enable_grad():
            with self._autocast():
                logits = self._model(self._probe.images)
            loss = F.cross_entropy(logits.float(), self._probe.labels)
            found = iter(torch.autograd.grad(loss, wanted, materialize_grads=True) if wanted else ())
        return leaves, {name: [next(found) for _ in pairs] for name, pairs in self._levels.items()}

    def _autocast(self) -> torch.autocast:
        """As in training, but without its cache: torch 2.11 may hand `forward` what `leaves` cast without gradient."""
        low = self._precision == "bf16"
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=low, cache_enabled=False)

    def _norms(self, name: str, gradients: list[Tensor]) -> Tensor:
        """(levels,) float64, over all rows of a level and all parameters together."""
        squares = torch.zeros(self._depths[name], dtype=torch.float64, device=self._device)
        for gradient, (_, rows) in zip(gradients, self._levels[name], strict=True):
            squares.index_add_(0, rows, gradient.double().square().reshape(len(gradient), -1).sum(dim=1))
        return squares.sqrt()

    def _named(self, numbers: Iterator[float], histogram: bool) -> dict[str, Any]:
        modules: dict[str, dict[str, Any]] = {}
        all_visits: dict[str, list[list[int]]] = {}
        for name, tree in self._trees.items():
            inputs, trees = self.leaves[name].shape
            own: dict[str, Any] = {"inputs": inputs}
            own.update({key: _plain(next(numbers)) for key in MEANS})
            own["gradient_norm_by_level"] = [_plain(next(numbers)) for _ in range(self._depths[name])]
            modules[name] = own
            if histogram and trees * tree.leaf_count <= HISTOGRAM:
                all_visits[name] = [[int(next(numbers)) for _ in range(tree.leaf_count)] for _ in range(trees)]
        of_each = list(modules.values())
        levels = range(max(self._depths.values()))
        said: dict[str, Any] = {key: _mean([own[key] for own in of_each]) for key in MEANS}
        said["gradient_norm_by_level"] = [
            _mean(
                [own["gradient_norm_by_level"][level] for own in of_each if level < len(own["gradient_norm_by_level"])]
            )
            for level in levels
        ]
        if len(modules) <= LISTED:
            said["modules"] = modules
        if all_visits:
            said["leaf_visits"] = all_visits
        return said


@contextmanager
def _probing(model: nn.Module, trees: dict[str, Any]) -> Iterator[None]:
    """In evaluation mode, and eager where blocks are compiled: the probe's shape is worth no compilation.

    A tree that is trained as a mixture of its leaves computes it here, too: the hard choice gives its gates no gradient.
    """
    was_training = model.training
    soft = {tree: tree.execution for tree in trees.values() if "soft" in getattr(tree, "executions", ())}
    model.eval()
    for tree in soft:
        tree.execution = "soft"
    try:
        with uncompiled(model):
            yield
    finally:
        for tree, execution in soft.items():
            tree.execution = execution
        model.train(was_training)


@contextmanager
def _inputs_seen(trees: dict[str, Any], leaves: dict[str, Tensor]) -> Iterator[None]:
    """While it lasts, every tree notes (inputs, trees) leaves under its name when it is called."""

    def noting(name: str) -> Any:
        def note(tree: Any, inputs: tuple[Tensor, ...]) -> None:
            leaves[name] = tree.leaves(inputs[0]).flatten(0, -2)

        return note

    handles = [tree.register_forward_pre_hook(noting(name)) for name, tree in trees.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _visits(leaves: Tensor, leaf_count: int) -> Tensor:
    """(inputs, P) leaves -> int64 (P, leaf_count), how many inputs reach each; without asking the device for a size."""
    trees = leaves.shape[1]
    places = (leaves + torch.arange(trees, device=leaves.device) * leaf_count).flatten()
    counts = torch.zeros(trees * leaf_count, dtype=torch.int64, device=leaves.device)
    return counts.index_add_(0, places, torch.ones_like(places)).view(trees, leaf_count)


def _shares(visits: Tensor, leaves: Tensor, before: Tensor | None) -> list[Tensor]:
    """The three numbers of `MEANS`, each without dimension."""
    dead = (visits == 0).double().mean()
    shares = visits.double() / len(leaves)
    entropy = torch.special.entr(shares).sum(dim=1).mean() / math.log(visits.shape[1])
    if before is None or before.shape != leaves.shape:
        agreement = torch.full_like(entropy, torch.nan)
    else:
        agreement = (leaves == before).double().mean()
    return [dead, entropy, agreement]


def _smallest(leaf_count: int) -> torch.dtype:
    return torch.int16 if leaf_count <= 2**15 else torch.int32


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _mean(numbers: list[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None
