"""A stream of batches by NVIDIA DALI: pipelines that are fed with orders, and what keeps their memory whole.

On a GPU the gather and DALI's copy of its rows run on a stream of their own, for which DALI has the host wait: on the
stream of the training it would wait for the step before, and the GPU for the host. A batch belongs to the stream on which
it was asked for, which waits for DALI and for the labels before it reads them. What it may still read is kept from DALI
(`_keep`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from trainer.augment import Augmentation, augmentation, normalisation
from trainer.dataset import Header, Split

HANDED = 16
"""Batches handed out that may wait for the GPU; the host is at most so far ahead."""
PREFETCH = 2
"""Batches that each DALI pipeline works on ahead of the one in use."""
LANES = 2
"""Pipelines of a training on a GPU, which take turns: what one costs the host for each image is more than its kernels."""


class Batch(NamedTuple):
    """Images and labels on the loader's device."""

    images: Tensor
    """(B, 3, S, S) float32."""
    labels: Tensor
    """(B,) int64."""


class Order(NamedTuple):
    """What one batch is made of: images, and their draws (None = not done)."""

    places: Tensor
    """(B,) int64 in the split, on the device."""
    windows: np.ndarray | None = None
    flips: np.ndarray | None = None
    holes: np.ndarray | None = None


class _Lane:
    """A DALI pipeline, and what it reads of the batches that it works on."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.in_use: deque[tuple[Any, Tensor, torch.cuda.Event | None]] = deque()


class Stream:
    """DALI pipelines that are fed with `orders` in turn, each always `PREFETCH` of them ahead of `next()`."""

    def __init__(
        self,
        split: Split,
        orders: Iterator[Order],
        *,
        dataset: Header,
        batch_size: int,
        augment: str,
        training: bool,
        device: torch.device,
        threads: int,
    ) -> None:
        self._device, self._on_gpu, self._orders = device, device.type == "cuda", orders
        gpu = (torch.cuda.current_device() if device.index is None else device.index) if self._on_gpu else None
        self._kind = augmentation(augment) if training else Augmentation()
        self._flips = bool(self._kind.flip) and dataset.flip
        self._images = torch.tensor(split.images, device=device) if self._on_gpu else split.images
        self._words = _in_words(self._images) if isinstance(self._images, Tensor) else None
        self._labels = torch.tensor(split.labels, device=device)
        self._side = torch.cuda.Stream(device) if self._on_gpu else None
        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream(device))  # for the images and labels
        self._handed: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
        self._lanes: deque[_Lane] = deque()
        self._started = False
        for _ in range(LANES if self._on_gpu and training else 1):
            pipeline = Pipeline(
                batch_size=batch_size,
                num_threads=threads,
                device_id=gpu,
                prefetch_queue_depth=PREFETCH,
                exec_dynamic=True,
            )
            with pipeline:
                constants = normalisation(augment, dataset)
                pipeline.set_outputs(_graph(self._kind, constants, dataset.image_size, self._flips, self._on_gpu))
            pipeline.build()
            self._lanes.append(_Lane(pipeline))

    def to_device(self, index: np.ndarray) -> Tensor:
        """Upload places in the split without waiting for the GPU."""
        tensor = torch.from_numpy(index)
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._on_gpu else tensor

    def next(self) -> Batch:
        """The next batch in order; the lane that gave it begins another."""
        if not self._lanes:
            raise RuntimeError("The loader was closed.")
        if not self._started:
            self._started = True
            for _ in range(PREFETCH):
                for lane in self._lanes:
                    self._feed(lane)
            for lane in self._lanes:
                lane.pipeline.schedule_run()  # the first call starts as many runs as the queue is deep
        lane = self._lanes[0]
        self._lanes.rotate(-1)
        (images,) = lane.pipeline.share_outputs(self._torch_stream())
        batch = Batch(from_dlpack(images.as_tensor()), self._labels_of(lane))
        lane.pipeline.release_outputs()  # of the queue; the memory lives as long as the tensor
        self._keep(batch.images)
        self._feed(lane)
        lane.pipeline.schedule_run()
        return batch

    def _keep(self, images: Tensor) -> None:
        """Hold a batch until the GPU has passed what was enqueued when the next but one was asked for.

        The host runs ahead of the GPU: it drops a batch when the kernels that read it are enqueued, not when they have
        run, and DALI, which works on a stream of its own, would write the next batches over it.
        """
        if not self._on_gpu:
            return
        if self._handed:
            self._handed[-1] = (self._handed[-1][0], torch.cuda.current_stream(self._device).record_event())
        self._handed.append((images, None))
        while len(self._handed) > HANDED or (self._handed[0][1] is not None and self._handed[0][1].query()):
            _, event = self._handed.popleft()
            if event is not None:
                event.synchronize()

    def close(self) -> None:
        """Free the pipelines and their copy of the data."""
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        self._handed.clear()
        self._lanes.clear()
        self._orders = iter(())
        self._images, self._words, self._labels = np.empty(0), None, torch.empty(0)

    def _torch_stream(self) -> torch.cuda.Stream | None:
        return torch.cuda.current_stream(self._device) if self._on_gpu else None

    def _labels_of(self, lane: _Lane) -> Tensor:
        """Those of the lane's next batch, safe to read on torch's current stream."""
        _, labels, gathered = lane.in_use.popleft()
        if gathered is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(gathered)
            labels.record_stream(stream)
        return labels

    def _feed(self, lane: _Lane) -> None:
        with torch.cuda.stream(self._side):  # nothing on a CPU
            order = next(self._orders)
            rows = self._gather(order.places)
            labels = self._labels[order.places]
            gathered = self._side.record_event() if self._side is not None else None
        lane.pipeline.feed_input("images", rows, cuda_stream=self._side)
        for name, values in self._arguments(order).items():
            lane.pipeline.feed_input(name, values)
        # On a CPU DALI reads `rows` where they lie: they must live until their batch was handed out.
        lane.in_use.append((rows, labels, gathered))

    def _gather(self, places: Tensor) -> Any:
        """Rows by index: torch on the GPU; numpy on the mapped file."""
        if self._words is None:
            return self._images[places.numpy()]
        return self._words[places].view(torch.uint8).view(-1, *self._images.shape[1:])

    def _arguments(self, order: Order) -> dict[str, np.ndarray]:
        """What DALI is told of each image, in the form in which an operator reads it: each further one costs the host."""
        arguments: dict[str, np.ndarray] = {}
        if order.windows is not None and self._kind.pad_crop:
            arguments["start"] = np.ascontiguousarray(order.windows[:, :2])
        elif order.windows is not None:
            window = order.windows.astype(np.float32)
            arguments |= {"start": np.ascontiguousarray(window[:, :2]), "end": np.ascontiguousarray(window[:, 2:])}
        if self._flips and order.flips is not None:
            arguments["flips"] = order.flips
        if order.holes is not None:
            arguments["holes"] = order.holes.astype(np.float32)
        return arguments


def _in_words(images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 as (N, H W C / 8) int64, or flat bytes if that is odd: a gather moves words as fast as bytes."""
    flat = images.flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat


def _graph(kind: Augmentation, constants: tuple[list[float], list[float]], size: int, flips: bool, on_gpu: bool) -> Any:
    """(H, W, C) uint8 to (C, S, S) float32: window, resize, hole, flip, normalise."""
    images = fn.external_source(
        name="images",
        device="gpu" if on_gpu else "cpu",
        # On a GPU torch's allocator would hand the rows' memory to the next gather while DALI's stream still reads it.
        no_copy=not on_gpu,
        layout="HWC",
        dtype=types.UINT8,
    )
    if kind.pad_crop:  # within `crop_mirror_normalize` it takes the host twice as long (results/LOG.md)
        start = fn.external_source(name="start", dtype=types.INT32, ndim=1)
        images = fn.slice(images, start=start, shape=[size, size], axis_names="HW", out_of_bounds_policy="pad")
    elif kind.resize_window:
        start, end = (fn.external_source(name=name, dtype=types.FLOAT, ndim=1) for name in ("start", "end"))
        images = fn.resize(
            images,
            roi_start=start,
            roi_end=end,
            size=[size, size],
            interp_type=types.INTERP_LINEAR,
            dtype=types.FLOAT,
        )
    mean, std = constants
    if kind.hole:
        images = fn.erase(
            images,
            anchor=fn.external_source(name="holes", dtype=types.FLOAT, ndim=1),
            shape=[kind.hole, kind.hole],
            axis_names="HW",
            fill_value=[round(value) for value in mean],
        )
    mirror = fn.external_source(name="flips", dtype=types.INT32, ndim=0) if flips else 0
    return fn.crop_mirror_normalize(images, mirror=mirror, mean=mean, std=std, dtype=types.FLOAT, output_layout="CHW")
