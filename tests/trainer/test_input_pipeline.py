"""DALI gives the pixels that numpy's draws ask for: after a restart, on any number of threads, each image once."""

import gc
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from results.errors import InputError
from trainer.augment import AUGMENTATIONS, HOLE, Draws, draw, normalisation
from trainer.dataset import Dataset
from trainer.input_pipeline import Batch, EvalLoader, TrainLoader

CPU = torch.device("cpu")


@pytest.fixture
def data(digits):
    """Digits as if they were pictures that may be flipped, with three channels that differ."""
    images = digits.train.images.copy()
    images[..., 1] = images[..., 1] // 2 + 40
    images[..., 2] = 255 - images[..., 2]
    return replace(
        digits,
        flip=True,
        mean=(0.3, 0.31, 0.69),
        std=(0.32, 0.16, 0.33),
        train=replace(digits.train, images=images),
    )


def loader(data: Dataset, augment: str, *, batch_size: int = 100, start_epoch: int = 1, **options: int) -> TrainLoader:
    return TrainLoader(
        data.train,
        dataset=data,
        batch_size=batch_size,
        augment=augment,
        seed=11,
        device=CPU,
        start_epoch=start_epoch,
        **options,
    )


def whole(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(batches)
    return torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])


def naive(data: Dataset, draws: Draws, augment: str, place: int) -> np.ndarray:
    """(3, S, S) float64: what the image at that place of the epoch must be. Linear resizing is PIL's."""
    image = data.train.images[draws.order[place]].astype(np.float64)
    if draws.windows is not None:
        top, left, bottom, right = draws.windows[place]
        if augment.startswith("crop_pad"):
            image = np.pad(image, ((4, 4), (4, 4), (0, 0)))[top + 4 : bottom + 4, left + 4 : right + 4]
        else:
            channels = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
            box = (left, top, right, bottom)
            resized = [channel.resize((32, 32), Image.Resampling.BILINEAR, box=box) for channel in channels]
            image = np.stack([np.asarray(channel, np.float64) for channel in resized], axis=-1)
    mean, std = normalisation(augment, data)
    if draws.holes is not None:
        top, left = draws.holes[place]
        image[max(top, 0) : top + HOLE, max(left, 0) : left + HOLE] = np.round(mean)
    if draws.flips is not None and draws.flips[place]:
        image = image[:, ::-1]
    return ((image - mean) / std).transpose(2, 0, 1)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_every_pixel_is_what_a_naive_reference_says(data, augment):
    train = loader(data, augment, start_epoch=4)
    images, labels = whole(train.epoch())
    train.close()
    draws = draw(augment, 11, 4, images=len(data.train), header=data)
    for place in range(len(images)):
        assert np.abs(images[place].numpy() - naive(data, draws, augment, place)).max() < 2e-6
    assert (labels.numpy() == data.train.labels[draws.order[: len(labels)]]).all()


def test_a_batch_is_float_channels_first_and_contiguous_with_whole_labels(data):
    train = loader(data, "crop_resized")
    batch = next(train.epoch())
    assert batch.images.shape == (100, 3, 32, 32)
    assert (batch.images.dtype, batch.labels.dtype) == (torch.float32, torch.int64)
    assert batch.images.is_contiguous()
    assert batch.labels.shape == (100,)
    train.close()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_a_restart_at_epoch_3_gives_the_bytes_of_an_uninterrupted_run(data, augment):
    uninterrupted, restarted = loader(data, augment), loader(data, augment, start_epoch=3)
    epochs = [whole(uninterrupted.epoch()) for _ in range(3)]
    images, labels = whole(restarted.epoch())
    assert torch.equal(images, epochs[2][0])
    assert torch.equal(labels, epochs[2][1])
    assert not torch.equal(epochs[0][1], epochs[1][1])
    uninterrupted.close()
    restarted.close()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_one_thread_and_two_give_the_same_bytes(data, augment):
    one, two = loader(data, augment, threads=1), loader(data, augment, threads=2)
    assert torch.equal(whole(one.epoch())[0], whole(two.epoch())[0])
    one.close()
    two.close()


def test_every_image_is_seen_once_an_epoch_but_for_the_remainder(data):
    numbered = data.train.images.copy()
    numbered[:, 0, 0, 0] = np.arange(len(numbered)) % 256
    numbered[:, 0, 0, 1] = np.arange(len(numbered)) // 256
    data = replace(data, train=replace(data.train, images=numbered), mean=(0, 0, 0), std=(1, 1, 1))
    train = loader(data, "none", batch_size=200)
    assert train.steps_per_epoch == 6
    left_out = []
    for _ in range(3):
        images, labels = whole(train.epoch())
        first = (images[:, :2, 0, 0] * 255).round().long()
        seen = (first[:, 0] + 256 * first[:, 1]).numpy()
        assert len(seen) == len(set(seen)) == 1200
        assert (data.train.labels[seen] == labels.numpy()).all()
        left_out.append(frozenset(range(1349)) - set(seen))
    assert len(set(left_out)) == 3
    train.close()


def test_an_epoch_may_have_fewer_steps_and_the_next_is_another_draw(data):
    train, full = loader(data, "crop_pad", steps=4), loader(data, "crop_pad")
    assert train.steps_per_epoch == 4
    for _ in range(2):
        assert torch.equal(whole(train.epoch())[0], whole(full.epoch())[0][:400])
    train.close()
    full.close()


def test_an_epoch_left_in_the_middle_is_over(data):
    train, full = loader(data, "crop_resized"), loader(data, "crop_resized", start_epoch=2)
    next(train.epoch())
    assert torch.equal(whole(train.epoch())[0], whole(full.epoch())[0])
    train.close()
    full.close()


def test_batches_that_are_kept_do_not_change(data):
    train = loader(data, "crop_resized")
    kept, copies = [], []
    for batch in train.epoch():
        kept.append(batch.images)
        copies.append(batch.images.clone())
    whole(train.epoch())
    train.close()
    assert all(torch.equal(one, other) for one, other in zip(kept, copies, strict=True))


@pytest.mark.parametrize("batch_size", [100, 179, 1000])
@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_an_evaluation_sees_every_image_once_in_order_pass_after_pass(data, augment, batch_size):
    evaluation = EvalLoader(data.val, dataset=data, batch_size=batch_size, augment=augment, device=CPU)
    mean, std = normalisation(augment, data)
    expected = ((data.val.images - np.array(mean)) / std).transpose(0, 3, 1, 2)
    for _ in range(3):
        images, labels = whole(evaluation)
        assert np.abs(images.numpy() - expected).max() < 2e-6
        assert (labels.numpy() == data.val.labels).all()
    sizes = [len(batch.labels) for batch in evaluation]
    assert (len(evaluation), sum(sizes)) == (len(sizes), 179)
    evaluation.close()


def test_a_pass_left_in_the_middle_does_not_shift_the_next(data):
    evaluation = EvalLoader(data.val, dataset=data, batch_size=50, augment="none", device=CPU)
    for batch in evaluation:
        assert len(batch.labels) == 50
        break
    assert (whole(evaluation)[1].numpy() == data.val.labels).all()
    evaluation.close()


def test_a_batch_larger_than_the_split_is_refused(data):
    with pytest.raises(InputError, match=r"images=1349, batch_size=1350"):
        loader(data, "none", batch_size=1350)
    with pytest.raises(InputError, match="but got 14 "):
        loader(data, "none", steps=14)


def test_a_closed_loader_says_so_and_may_be_closed_again(data):
    train = loader(data, "none")
    next(train.epoch())
    train.close()
    train.close()
    with pytest.raises(RuntimeError, match="was closed"):
        next(train.epoch())


def test_loaders_one_after_another_leave_no_threads_files_or_memory(data):
    process = psutil.Process()

    def use(count: int) -> tuple[int, int, int]:
        for number in range(count):
            train = loader(data, tuple(AUGMENTATIONS)[number % len(AUGMENTATIONS)])
            whole(train.epoch())
            train.close()
        gc.collect()
        return process.num_threads(), process.num_fds(), process.memory_info().rss

    use(8)
    # what allocators hold back rises and falls by 100 MiB; what 36 loaders of 4 MiB leave behind would stay
    before, after = ([use(6) for _ in range(6)] for _ in range(2))
    for number, allowed in enumerate((2, 4, 60 * 2**20)):
        assert min(use[number] for use in after) <= min(use[number] for use in before) + allowed


def test_real_images_pass_through_whole(cifar10_zip, data):
    """Two hundred real photographs, as no split of digits is."""
    import io
    import zipfile

    with zipfile.ZipFile(cifar10_zip) as file:
        names = [name for name in file.namelist() if name.startswith("cifar10/test/")][::50]
        images = np.stack([np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB")) for name in names])
    real = replace(data.train, images=images, labels=np.arange(len(names)))
    data = replace(data, train=real)
    for augment in AUGMENTATIONS:
        train = loader(data, augment, batch_size=len(names))
        (batch,) = train.epoch()
        draws = draw(augment, 11, 1, images=len(names), header=data)
        for place in range(len(names)):
            assert np.abs(batch.images[place].numpy() - naive(data, draws, augment, place)).max() < 2e-6
        train.close()
