"""A training loop in the manner of cifar10deepspeed, as the reference of old: what Arbor's users come from.

fp16 with loss scaling, batch 256 accumulated twice, PNG files decoded by a DALI pipeline that does not run ahead,
`.item()` in every step, evaluation by the same pipeline. Written from its README's description; none of its code.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nvidia.dali import fn, pipeline_def, types
from PIL import Image
from torch.utils.dlpack import from_dlpack

from arch_space.initialise import initialise
from benchmarks.work import full_dataset
from trainer.config import TrialConfig
from trainer.dataset import Split
from trainer.engine import device_of

BATCH = 256
ACCUMULATION = 2


def _png(split: Split) -> list[np.ndarray]:
    files = []
    for pixels in split.images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
    return files


def _pipeline(files: list[np.ndarray], labels: np.ndarray, size: int, *, augment: bool, on_gpu: bool) -> Any:
    order = np.random.default_rng(0).permutation(len(files)) if augment else np.arange(len(files))

    def sample(info: Any) -> tuple[np.ndarray, np.ndarray]:
        place = order[info.idx_in_epoch % len(files)]
        return files[place], labels[place : place + 1]

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=BATCH, num_threads=4, device_id=0 if on_gpu else None, exec_async=False, exec_pipelined=False,
        prefetch_queue_depth=1,
    )  # fmt: skip
    def graph() -> Any:
        encoded, label = fn.external_source(sample, num_outputs=2, batch=False, dtype=[types.UINT8, types.INT64])
        images = fn.decoders.image(encoded, device="mixed" if on_gpu else "cpu", output_type=types.RGB)
        if augment:
            images = fn.random_resized_crop(images, size=size, random_area=(0.25, 1.0), random_aspect_ratio=(0.9, 1.1))
        mirror = fn.random.coin_flip(probability=0.3) if augment else 0
        images = fn.crop_mirror_normalize(
            images, mirror=mirror, mean=[0.0] * 3, std=[255.0] * 3, dtype=types.FLOAT, output_layout="CHW"
        )
        return images, label.gpu() if on_gpu else label

    built = graph()
    built.build()
    return built


def time_seed_style(config: TrialConfig, epochs: int, wait: Callable[[], None]) -> dict[str, Any]:
    """Seconds of an epoch: all images of training, then all of evaluation."""
    device = device_of(torch.cuda.is_available())
    on_gpu = device.type == "cuda"
    data = full_dataset(config.data)
    model = config.model.build()
    initialise(model, config.seed)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)
    size = config.model.image_size
    train = _pipeline(_png(data.train), data.train.labels, size, augment=True, on_gpu=on_gpu)
    val = _pipeline(_png(data.val), data.val.labels, size, augment=False, on_gpu=on_gpu)

    def batch(pipeline: Any) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = pipeline.run()
        return (
            from_dlpack(images.as_tensor()).clone(),
            from_dlpack(labels.as_tensor()).clone().flatten(),
        )

    def forward(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.float16, enabled=on_gpu):
            return F.cross_entropy(model(images).float(), labels)

    def epoch() -> tuple[float, float]:
        began = time.perf_counter()
        model.train()
        total = 0.0
        for number in range(len(data.train) // BATCH):
            loss = forward(*batch(train))
            scaler.scale(loss / ACCUMULATION).backward()
            if number % ACCUMULATION == ACCUMULATION - 1:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
            total += loss.item()
        middle = time.perf_counter()
        model.eval()
        with torch.no_grad():
            for _ in range(-(-len(data.val) // BATCH)):
                total += forward(*batch(val)).item()
        return middle - began, time.perf_counter() - middle

    epoch()
    wait()
    times = [epoch() for _ in range(epochs)]
    train_seconds = statistics.median(one for one, _ in times)
    val_seconds = statistics.median(other for _, other in times)
    return {
        "epoch_seconds": train_seconds + val_seconds,
        "train_seconds": train_seconds,
        "val_seconds": val_seconds,
        "images_per_second": len(data.train) // BATCH * BATCH / train_seconds,
        "memory_bytes": torch.cuda.max_memory_reserved() if on_gpu else None,
        "compiled": False,
    }
