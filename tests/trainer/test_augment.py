"""The draws of an epoch: functions of (seed, epoch), in the documented order, within the documented bounds."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.errors import InputError
from trainer.augment import ATTEMPTS, AUGMENTATIONS, HOLE, Draws, draw, normalisation


def equal(one: Draws, other: Draws) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Draws)]
    return all(np.array_equal(a, b) if a is not None and b is not None else a is b for a, b in pairs)


@pytest.fixture
def header(digits):
    """As of a data set that allows flips."""
    return replace(digits, flip=True)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_draws_are_a_function_of_seed_and_epoch(header, name):
    draws = draw(name, 3, 5, images=100, header=header)
    assert equal(draws, draw(name, 3, 5, images=100, header=header))
    assert not equal(draws, draw(name, 3, 6, images=100, header=header))
    assert not equal(draws, draw(name, 4, 5, images=100, header=header))


@given(seed=st.integers(0, 2**31 - 1), epoch=st.integers(1, 1000), images=st.integers(1, 300))
def test_an_epoch_shows_every_image_once(digits, seed, epoch, images):
    assert sorted(draw("none", seed, epoch, images=images, header=digits).order) == list(range(images))


@pytest.mark.parametrize("name", ["crop_resized", "crop_resized_cutout", "seed"])
def test_windows_lie_inside_and_have_the_areas_and_aspects_of_the_recipe(header, name):
    windows = draw(name, 0, 1, images=20_000, header=header).windows
    assert windows is not None
    top, left, bottom, right = windows.T
    height, width = bottom - top, right - left
    assert windows.min() == 0
    assert windows.max() == 32
    assert (height > 0).all()
    assert (width > 0).all()
    area, aspect = height * width / 32**2, width / height
    side = np.sqrt(area * 32**2)
    assert (np.abs(area - area.clip(0.25, 1)) * 32**2 <= side).all()  # extents are rounded to whole pixels
    assert (np.abs(aspect - aspect.clip(0.9, 1.1)) <= 1.1 / height).all()
    assert abs(np.log(aspect).mean()) < 0.005
    assert 0.59 < area.mean() < 0.63  # a little under 0.625: some large windows do not fit


def test_windows_of_pad_crop_move_by_up_to_four_pixels_each_way_alike(header):
    windows = draw("crop_pad", 0, 1, images=20_000, header=header).windows
    assert windows is not None
    assert (windows[:, 2:] - windows[:, :2] == 32).all()
    for axis in (0, 1):
        starts, counts = np.unique(windows[:, axis], return_counts=True)
        assert starts.tolist() == list(range(-4, 5))
        assert (np.abs(counts / 20_000 - 1 / 9) < 0.01).all()


@pytest.mark.parametrize(
    ("name", "share"), [("crop_resized", 0.5), ("crop_pad", 0.5), ("crop_pad_alternate", 0.5), ("seed", 0.3)]
)
def test_flips_have_their_share(header, name, share):
    flips = draw(name, 0, 1, images=20_000, header=header).flips
    assert flips is not None
    assert abs(flips.mean() - share) < 0.015


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_digits_are_never_flipped(digits, name):
    assert draw(name, 0, 1, images=10, header=digits).flips is None


def test_none_draws_the_order_alone(header):
    draws = draw("none", 0, 1, images=10, header=header)
    assert (draws.windows, draws.flips, draws.holes) == (None, None, None)


def test_the_middle_of_a_hole_is_any_pixel_alike(header):
    draws = draw("crop_pad_cutout", 0, 1, images=64_000, header=header)
    assert draws.holes is not None
    for axis in (0, 1):
        middles, counts = np.unique(draws.holes[:, axis] + HOLE // 2, return_counts=True)
        assert middles.tolist() == list(range(32))
        assert (np.abs(counts / 2_000 - 1) < 0.15).all()
    without = draw("crop_pad_alternate", 0, 1, images=64_000, header=header)
    assert equal(without, replace(draws, holes=None))


def test_the_order_of_the_draws_is_the_documented_one(header):
    n = 50
    rng = np.random.default_rng([7, 2])
    order = rng.permutation(n)
    area = rng.uniform(0.25, 1, (n, 10)) * 32 * 32
    aspect = np.exp(rng.uniform(np.log(0.9), np.log(1.1), (n, 10)))
    place = rng.random((n, 2))
    flips = rng.random(n) < 0.5
    draws = draw("crop_resized", 7, 2, images=n, header=header)
    assert (draws.order == order).all()
    assert draws.flips is not None
    assert (draws.flips == flips).all()
    assert draws.windows is not None
    for i in range(n):
        height, width = 32, 32
        for k in range(ATTEMPTS):
            h, w = round((area[i, k] / aspect[i, k]) ** 0.5), round((area[i, k] * aspect[i, k]) ** 0.5)
            if max(h, w) <= 32:
                height, width = h, w
                break
        top, left = int(place[i, 0] * (32 - height + 1)), int(place[i, 1] * (32 - width + 1))
        assert draws.windows[i].tolist() == [top, left, top + height, left + width]

    rng = np.random.default_rng([7, 2])
    rng.permutation(n)
    starts = rng.integers(-4, 5, (n, 2), dtype=np.int32)
    draws = draw("crop_pad", 7, 2, images=n, header=header)
    assert draws.windows is not None
    assert (draws.windows[:, :2] == starts).all()


def test_normalisation_is_that_of_the_data_but_for_seed(digits):
    mean, std = normalisation("crop_pad", digits)
    assert mean == [255 * value for value in digits.mean]
    assert std == [255 * value for value in digits.std]
    assert normalisation("seed", digits) == ([0, 0, 0], [255, 255, 255])


def test_an_unknown_augmentation_is_refused_with_the_known_ones(digits):
    with pytest.raises(
        InputError,
        match='"augment" must be one of crop_resized, crop_pad, crop_pad_alternate, crop_pad_cutout, crop_resized_cutout, ',
    ):
        draw("crop", 0, 1, images=10, header=digits)


def test_alternating_flips_show_each_image_from_both_sides_in_two_epochs(digits):
    header = replace(digits, flip=True)
    by_image = []
    for epoch in (1, 2, 3):
        draws = draw("crop_pad_alternate", 5, epoch, images=500, header=header)
        flips = np.empty(500, np.int32)
        flips[draws.order] = draws.flips
        by_image.append(flips)
    assert (by_image[0] + by_image[1] == 1).all()
    assert (by_image[0] == by_image[2]).all()
    assert 200 < by_image[0].sum() < 300
