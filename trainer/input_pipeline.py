"""The input of training and evaluation, by NVIDIA DALI; the same code on CPU and GPU.

The split's uint8 array lies in the memory of the device. For each batch its rows are gathered there and handed to
DALI, with the windows and flips that numpy drew (trainer/augment.py); DALI cuts, resizes, flips and normalises, some
batches ahead of their use.

On a GPU the gather and DALI's copy of its rows run on torch's current stream, DALI's stream waits for them, and torch's
waits for DALI before it reads a batch: a batch belongs to the stream on which it was asked for. What torch's stream may
still read is kept from DALI (`_keep`).
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

from results.errors import InputError
from trainer.augment import Augmentation, augmentation, draw, normalisation
from trainer.dataset import Header, Split

HANDED = 16
"""Batches handed out that may wait for the GPU; the host is at most so far ahead."""
PREFETCH = 2
"""Batches that DALI works on ahead of the one in use."""


class Batch(NamedTuple):
    """Images and labels on the loader's device."""

    images: Tensor
    """(B, 3, S, S) float32."""
    labels: Tensor
    """(B,) int64."""


class _Order(NamedTuple):
    """What one batch is made of: images, and their draws (None = not done)."""

    places: Tensor
    """(B,) int64 in the split, on the device."""
    windows: np.ndarray | None
    flips: np.ndarray | None


class TrainLoader:
    """Batches of training, epoch after epoch, in the order and with the augmentation that (seed, epoch) alone decide.

    Args:
        dataset: whose mean, deviation, image size and flip rule apply.
        batch_size: images of a batch; the remainder of an epoch is dropped (other images every epoch).
        steps: batches of an epoch, if less than `len(split) // batch_size`.
        augment: a name in `trainer.augment.AUGMENTATIONS`.
        start_epoch: the first epoch that `epoch()` gives, counted from 1.
        threads: DALI's CPU threads; the bytes do not depend on it.
    Raises:
        InputError: fewer images than one batch, or than `steps` batches.
    """

    def __init__(
        self,
        split: Split,
        *,
        dataset: Header,
        batch_size: int,
        augment: str,
        seed: int,
        device: torch.device,
        start_epoch: int = 1,
        threads: int = 1,
        steps: int | None = None,
    ) -> None:
        most = len(split) // batch_size
        self._steps = most if steps is None else steps
        if not 1 <= self._steps <= most:
            raise InputError(
                f"An epoch must have from 1 to images // batch_size batches, but got {self._steps} "
                f"(images={len(split)}, batch_size={batch_size})."
            )
        self._stream = _Stream(
            split,
            self._orders(len(split), dataset, batch_size, augment, seed, start_epoch),
            dataset=dataset,
            batch_size=batch_size,
            augment=augment,
            training=True,
            device=device,
            threads=threads,
        )
        self._left = 0

    @property
    def steps_per_epoch(self) -> int:
        return self._steps

    def epoch(self) -> Iterator[Batch]:
        """The batches of the next epoch. An epoch that was left in the middle is over: its rest is skipped."""
        for _ in range(self._left):
            self._stream.next()
        self._left = self._steps
        while self._left:
            self._left -= 1
            yield self._stream.next()

    def close(self) -> None:
        """Free the pipeline and its copy of the data."""
        self._stream.close()

    def _orders(
        self, images: int, dataset: Header, batch_size: int, augment: str, seed: int, epoch: int
    ) -> Iterator[_Order]:
        """Without end: the next epoch is begun while the last batches of this one are in use."""
        while True:
            draws = draw(augment, seed, epoch, images=images, header=dataset)
            places = self._stream.to_device(draws.order)
            for start in range(0, self._steps * batch_size, batch_size):
                part = slice(start, start + batch_size)
                windows = None if draws.windows is None else draws.windows[part]
                flips = None if draws.flips is None else draws.flips[part]
                yield _Order(places[part], windows, flips)
            epoch += 1


class EvalLoader:
    """Every image of a split once, in order, the last batch short; as often as it is iterated. Nothing is augmented.

    Args: as of `TrainLoader`; `augment` decides only the normalisation.
    """

    def __init__(
        self, split: Split, *, dataset: Header, batch_size: int, augment: str, device: torch.device, threads: int = 1
    ) -> None:
        self._batches = -(-len(split) // batch_size)
        self._stream = _Stream(
            split,
            self._orders(len(split), batch_size),
            dataset=dataset,
            batch_size=min(batch_size, len(split)),
            augment=augment,
            training=False,
            device=device,
            threads=threads,
        )
        self._left = 0

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self._left):  # of a pass that was left in the middle
            self._stream.next()
        self._left = self._batches
        while self._left:
            self._left -= 1
            yield self._stream.next()

    def close(self) -> None:
        """Free the pipeline and its copy of the data."""
        self._stream.close()

    def _orders(self, images: int, batch_size: int) -> Iterator[_Order]:
        index = self._stream.to_device(np.arange(images))
        while True:
            for start in range(0, images, batch_size):
                yield _Order(index[start : start + batch_size], None, None)


class _Stream:
    """A DALI pipeline that is fed with `orders`, always `PREFETCH` of them ahead of `next()`."""

    def __init__(
        self,
        split: Split,
        orders: Iterator[_Order],
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
        kind = augmentation(augment) if training else Augmentation()
        self._inputs = {
            "windows": kind.resize_window or kind.pad_crop,
            "flips": bool(kind.flip) and dataset.flip,
        }
        self._images = torch.tensor(split.images, device=device) if self._on_gpu else split.images
        self._words = _in_words(self._images) if isinstance(self._images, Tensor) else None
        self._labels = torch.tensor(split.labels, device=device)
        self._in_use: deque[tuple[Any, Tensor]] = deque()
        self._handed: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
        self._pipeline: Pipeline | None = Pipeline(
            batch_size=batch_size,
            num_threads=threads,
            device_id=gpu,
            prefetch_queue_depth=PREFETCH,
            exec_dynamic=True,
        )
        with self._pipeline:
            self._pipeline.set_outputs(_graph(kind, normalisation(augment, dataset), dataset, self._on_gpu))
        self._pipeline.build()

    def to_device(self, index: np.ndarray) -> Tensor:
        """Upload places in the split without waiting for the GPU."""
        tensor = torch.from_numpy(index)
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._on_gpu else tensor

    def next(self) -> Batch:
        """The next batch in order; the one after `PREFETCH` more is begun."""
        pipeline = self._pipeline
        if pipeline is None:
            raise RuntimeError("The loader was closed.")
        if not self._in_use:
            for _ in range(PREFETCH):
                self._feed(pipeline)
            pipeline.schedule_run()  # the first call starts as many runs as the queue is deep
        (images,) = pipeline.share_outputs(self._torch_stream())
        batch = Batch(from_dlpack(images.as_tensor()), self._in_use.popleft()[1])
        pipeline.release_outputs()  # of the queue; the memory lives as long as the tensor
        self._keep(batch.images)
        self._feed(pipeline)
        pipeline.schedule_run()
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
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
        self._handed.clear()
        self._pipeline = None
        self._in_use.clear()
        self._orders = iter(())
        self._images, self._words, self._labels = np.empty(0), None, torch.empty(0)

    def _torch_stream(self) -> torch.cuda.Stream | None:
        return torch.cuda.current_stream(self._device) if self._on_gpu else None

    def _feed(self, pipeline: Pipeline) -> None:
        order = next(self._orders)
        # Rows by index: torch on the GPU; numpy on the mapped file.
        if self._words is not None:
            rows = self._words[order.places].view(torch.uint8).view(-1, *self._images.shape[1:])
        else:
            rows = self._images[order.places.numpy()]
        pipeline.feed_input("images", rows, cuda_stream=self._torch_stream())
        for name, wanted in self._inputs.items():
            if wanted:
                pipeline.feed_input(name, getattr(order, name))
        # On a CPU DALI reads `rows` where they lie: they must live until their batch was handed out.
        self._in_use.append((rows, self._labels[order.places]))


def _in_words(images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 as (N, H W C / 8) int64, or flat bytes if that is odd: a gather moves words as fast as bytes."""
    flat = images.flatten(1)
    return flat.view(torch.int64) if flat.shape[1] % 8 == 0 else flat


def _graph(kind: Augmentation, constants: tuple[list[float], list[float]], dataset: Header, on_gpu: bool) -> Any:
    """(H, W, C) uint8 to (C, S, S) float32: window, resize, flip, normalise."""
    size = [dataset.image_size] * 2
    images = fn.external_source(
        name="images",
        device="gpu" if on_gpu else "cpu",
        # On a GPU torch's allocator would hand the rows' memory to the next gather while DALI's stream still reads it.
        no_copy=not on_gpu,
        layout="HWC",
        dtype=types.UINT8,
    )
    if kind.resize_window or kind.pad_crop:
        windows = fn.external_source(name="windows", dtype=types.INT32, ndim=1)
        if kind.pad_crop:
            images = fn.slice(images, start=windows[0:2], shape=size, axis_names="HW", out_of_bounds_policy="pad")
        else:
            windows = fn.cast(windows, dtype=types.FLOAT)
            images = fn.resize(
                images,
                roi_start=windows[0:2],
                roi_end=windows[2:4],
                size=size,
                interp_type=types.INTERP_LINEAR,
                dtype=types.FLOAT,
            )
    mirror = fn.external_source(name="flips", dtype=types.INT32, ndim=0) if kind.flip and dataset.flip else 0
    mean, std = constants
    return fn.crop_mirror_normalize(images, mirror=mirror, mean=mean, std=std, dtype=types.FLOAT, output_layout="CHW")
