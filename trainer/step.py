"""One optimizer step: forward, loss, backward, clipping and update, through the DeepSpeed engine.

`EngineStep` calls the engine. `GraphedStep` does the same on a GPU from a recording: it runs a few steps, has CUDA record
all kernels of one, and from then on the host only copies the batch in and starts the recording. What Python, DeepSpeed
and the launches of some five hundred kernels cost is gone with it; the kernels are the same, and so are the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from arch_space.auxiliary import auxiliary_loss
from trainer.input_pipeline import Batch
from trainer.recording import record

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

WARM_UP = 3
"""Steps before the recording: libraries choose kernels, the optimizer makes its state, regions are compiled."""

Loss = Callable[[Tensor, Tensor], Tensor]


def smoothed_cross_entropy(smoothing: float) -> Loss:
    """The loss of (logits, labels) that trials minimise: mean cross-entropy in nats, in fp32, labels smoothed."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)

    return loss


class EngineStep:
    """Steps by calls to the engine; adds up the losses on the device.

    What is minimised is the loss plus the modules' auxiliary losses, as a mean over the micro-batches of a step.

    Args:
        loss: of (logits, labels), a mean over the images.
        clip_norm: largest global gradient norm; 0 clips nothing, or leaves it to the engine.
    """

    def __init__(self, engine: DeepSpeedEngine, loss: Loss, clip_norm: float, device: torch.device) -> None:
        self._engine, self._loss, self._clip_norm = engine, loss, clip_norm
        self._parameters: list[nn.Parameter] = [p for p in engine.module.parameters() if p.requires_grad]
        self.total = torch.zeros((), device=device)
        """Sum of the losses of all micro-batches since the epoch's start, without auxiliary ones."""
        self.auxiliary_total = torch.zeros((), device=device)
        """The same of the auxiliary losses."""
        self.has_auxiliary = False
        """Whether any micro-batch had one."""
        self.settled = False
        """Whether the first step is done, after which nothing happens for the first time."""
        self._before = 0

    def start_epoch(self) -> None:
        """Set the sums to 0."""
        self.total.zero_()
        self.auxiliary_total.zero_()

    def __call__(self, batches: Sequence[Batch]) -> None:
        """One step over its micro-batches."""
        self._before = self._engine.micro_steps
        for images, labels in batches:
            loss = self._loss(self._engine(images), labels)
            extra = auxiliary_loss(self._engine.module)
            self._engine.backward(loss if extra is None else loss + extra)
            self.total += loss.detach()
            if extra is not None:
                self.auxiliary_total += extra.detach()
                self.has_auxiliary = True
            if self._clip_norm and self._engine.is_gradient_accumulation_boundary():
                # DeepSpeed's own clipping makes a tensor on the host in every step, for which the queue must run dry
                clip_grad_norm_(self._parameters, self._clip_norm, foreach=self.total.is_cuda)
            self._engine.step()
        self.settled = True

    def abandon(self) -> None:
        """Forget a step that broke off in the middle; none of its kernels has run."""
        self._engine.zero_grad()
        auxiliary_loss(self._engine.module)  # taken and dropped
        self._engine.micro_steps = self._before
        torch.cuda.synchronize()

    def close(self) -> None:
        """Nothing is held."""


def records(device: torch.device, zero_stage: int) -> bool:
    """Whether a trial's steps go through `GraphedStep`, on each of its workers, with NCCL's exchange of gradients in it.

    ZeRO reads the gradients' norm on the host, in every step.
    """
    return device.type == "cuda" and zero_stage == 0


class GraphedStep:
    """An `EngineStep` on a GPU, recorded after `WARM_UP` steps. All its batches have one shape.

    A feed-forward kind may do what no recording can hold, such as reading a value on the host: it is then called.
    """

    def __init__(self, step: EngineStep) -> None:
        self._step = step
        self._side = torch.cuda.Stream()  # recording must not happen on the default stream, nor warming up for it
        self._done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._static: list[Batch] = []
        self.refused: str | None = None
        """Why the step could not be recorded, in CUDA's words."""

    @property
    def settled(self) -> bool:
        """Whether the step is recorded, or cannot be."""
        return self._graph is not None or self.refused is not None

    def __call__(self, batches: Sequence[Batch]) -> None:
        """One step over its micro-batches."""
        if self._graph is None and self._done == WARM_UP and self.refused is None:
            self._static = [Batch(*map(torch.clone, batch)) for batch in batches]
            self._graph = self._record()
        if self._graph is None:
            self._done = min(self._done + 1, WARM_UP)
            self._side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._side):
                self._step(batches)
            torch.cuda.current_stream().wait_stream(self._side)
            return
        for static, batch in zip(self._static, batches, strict=True):
            static.images.copy_(batch.images)
            static.labels.copy_(batch.labels)
        self._graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph | None:
        try:
            return record(lambda: self._step(self._static), self._side).graph
        except RuntimeError as error:
            self.refused = str(error).splitlines()[0]
            self._step.abandon()
            return None

    def close(self) -> None:
        """Free the recording and its memory."""
        self._static.clear()
        if self._graph is not None:
            self._graph.reset()
            self._graph = None
