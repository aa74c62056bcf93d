"""The pipeline on a GPU gives what it gives on the CPU, and its buffers stay whole while work is queued."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from trainer.augment import AUGMENTATIONS
from trainer.dataset import Dataset
from trainer.input_pipeline import Batch, EvalLoader, TrainLoader

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]

TOLERANCE = 1e-4
"""In units of the data's deviation: DALI's resampling on a GPU rounds otherwise (a pixel level is 0.012)."""


@pytest.fixture
def data(digits: Dataset) -> Dataset:
    """Digits as if they were pictures that may be flipped."""
    return replace(digits, flip=True)


def loader(data: Dataset, augment: str, device: str, start_epoch: int = 1) -> TrainLoader:
    return TrainLoader(
        data.train,
        dataset=data,
        batch_size=64,
        augment=augment,
        seed=3,
        device=torch.device(device),
        start_epoch=start_epoch,
    )


def whole(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(batches)
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_training_batches_on_a_gpu_are_those_of_the_cpu(data, augment, device):
    on_cpu, on_gpu = loader(data, augment, "cpu"), loader(data, augment, device)
    for _ in range(3):
        expected, expected_labels = whole(on_cpu.epoch())
        images, labels = whole(on_gpu.epoch())
        assert images.is_cuda
        assert labels.is_cuda
        assert images.dtype == torch.float32
        assert (images.cpu() - expected).abs().max() < TOLERANCE
        assert torch.equal(labels.cpu(), expected_labels)
    on_cpu.close()
    on_gpu.close()


@pytest.mark.parametrize("augment", ["none", "seed"])
def test_evaluation_batches_on_a_gpu_are_those_of_the_cpu_pass_after_pass(data, augment):
    loaders = [
        EvalLoader(data.val, dataset=data, batch_size=100, augment=augment, device=torch.device(name))
        for name in ("cpu", "cuda")
    ]
    for _ in range(3):
        expected, images = (whole(one)[0].cpu() for one in loaders)
        assert (images - expected).abs().max() < TOLERANCE
    for one in loaders:
        one.close()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_a_restart_on_a_gpu_gives_the_same_bytes(data, augment):
    uninterrupted, restarted = loader(data, augment, "cuda"), loader(data, augment, "cuda", start_epoch=3)
    epochs = [whole(uninterrupted.epoch())[0] for _ in range(3)]
    assert torch.equal(whole(restarted.epoch())[0], epochs[2])
    uninterrupted.close()
    restarted.close()


@pytest.mark.parametrize("stream", ["default", "own"])
def test_batches_are_whole_while_the_gpu_lags_far_behind(data, stream):
    """Without waiting for the GPU, long work is queued between batches and freed memory is overwritten."""
    on_cpu, on_gpu = loader(data, "crop_resized", "cpu"), loader(data, "crop_resized", "cuda")
    expected = whole(on_cpu.epoch())[0]
    chosen = torch.cuda.current_stream() if stream == "default" else torch.cuda.Stream()
    chosen.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(chosen):
        busy = torch.randn(4096, 4096, device="cuda")
        differences = []
        for step, batch in enumerate(on_gpu.epoch()):
            for _ in range(5):
                busy = (busy @ busy).clamp(-1, 1)
            wanted = expected[64 * step : 64 * (step + 1)].pin_memory().to("cuda", non_blocking=True)
            differences.append((batch.images - wanted).abs().max())
            del batch
            for size in (64 * 32 * 32 * 3, 4 * 64 * 32 * 32 * 3):  # whatever was freed is written over
                torch.full((size,), 255, dtype=torch.uint8, device="cuda")
        worst = torch.stack(differences).max().item()
    assert worst < TOLERANCE
    on_cpu.close()
    on_gpu.close()


def test_twenty_loaders_one_after_another_give_their_gpu_memory_back(data):
    def use(count: int) -> int:
        """The whole card's, as DALI's memory is not torch's: only a test that has the card to itself can tell."""
        for number in range(count):
            train = loader(data, tuple(AUGMENTATIONS)[number % 4], "cuda")
            whole(train.epoch())
            train.close()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return total - free

    before = use(8)
    assert use(20) - before < 64 * 2**20
