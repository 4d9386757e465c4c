from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from ivn.data.crop import (
    Crop,
    centre_clip,
    centre_crop,
    cut,
    multi_scale_crop,
    random_resized_crop,
)
from ivn.keys import make_keys
from tests.media.videos import noise

KEYS = make_keys(1, 0, torch.arange(1200)).split(1)


@cache
def crops(height, width, *, flip=True, count=1200):
    return [multi_scale_crop(height, width, key, flip=flip) for key in KEYS[:count]]


@cache
def resized(height, width, *, area=(0.3, 1.0), aspect=(0.75, 1.35), flip=True, count=1200):
    return [
        random_resized_crop(height, width, key, area=area, aspect=aspect, flip=flip)
        for key in KEYS[:count]
    ]


def assert_uniform(values, low, high):
    """Kolmogorov and Smirnov's distance is that of one draw in 100,000 at most."""
    ordered = ((np.sort(values) - low) / (high - low)).clip(0, 1)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    distance = max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())
    assert distance < 2.47 / len(ordered) ** 0.5


def assert_equally_frequent(values, kinds):
    counts = Counter(values)
    assert len(counts) == kinds
    expected = len(values) / kinds
    for count in counts.values():
        assert abs(count - expected) < 5 * expected**0.5


def test_sizes_are_the_ten_pairs_of_scales_at_most_one_step_apart():
    sides = [256, 224, 192, 168]
    sizes = [(crop.height, crop.width) for crop in crops(256, 340)]
    assert_equally_frequent(sizes, 10)
    assert all(abs(sides.index(h) - sides.index(w)) <= 1 for h, w in sizes)


def test_places_are_13_and_reach_all_edges():
    places = [
        (crop.top / ((256 - crop.height) // 4 or 1), crop.left / ((340 - crop.width) // 4))
        for crop in crops(256, 340)
        if crop.height < 256
    ]
    assert_equally_frequent(places, 13)
    edges = {(y, x) for y in (0, 2, 4) for x in (0, 2, 4)}
    assert set(places) == edges | {(1, 1), (1, 3), (3, 1), (3, 3)}


@pytest.mark.parametrize("draw", [crops, resized])
def test_half_of_the_crops_are_mirrored_and_none_where_that_is_off(draw):
    mirrored = [crop.flip for crop in draw(256, 340)]
    assert_equally_frequent(mirrored, 2)
    assert not any(crop.flip for crop in draw(256, 340, flip=False))


def test_a_random_resized_crop_has_uniform_area_log_aspect_and_place():
    # So small that every first draw fits.
    drawn = resized(2000, 2000, area=(0.1, 0.5))
    area = np.array([crop.height * crop.width / 2000**2 for crop in drawn])
    aspect = np.log([crop.width / crop.height for crop in drawn])
    assert_uniform(area, 0.1, 0.5)
    assert_uniform(aspect, np.log(0.75), np.log(1.35))
    for free in (
        [crop.top / (2000 - crop.height) for crop in drawn],
        [crop.left / (2000 - crop.width) for crop in drawn],
    ):
        assert_uniform(free, 0, 1)
    together = np.corrcoef([area, aspect, [crop.top / (2000 - crop.height) for crop in drawn]])
    assert np.abs(together - np.eye(3)).max() < 5 / len(drawn) ** 0.5


@pytest.mark.parametrize(("height", "width"), [(256, 340), (101, 333), (720, 405)])
def test_what_fits_the_frame_is_in_range(height, width):
    drawn = resized(height, width, count=300)
    for crop in drawn:
        rounding = 1 / min(crop.height, crop.width)
        assert 0.3 - rounding <= crop.height * crop.width / (height * width) <= 1 + rounding
        assert 0.75 * (1 - rounding) <= crop.width / crop.height <= 1.35 * (1 + rounding)
    assert len(set(drawn)) > 100


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((10, 1000), Crop(0, 493, 10, 14)),
        ((1000, 10), Crop(493, 0, 13, 10)),
        ((100, 100), Crop(0, 0, 100, 100)),
    ],
)
def test_where_no_draw_fits_the_middle_is_taken(size, expected):
    area = (0.99, 1.0) if size != (100, 100) else (1.0, 1.0)
    aspect = (0.75, 1.35) if size != (100, 100) else (0.5, 2.0)
    drawn = resized(*size, area=area, aspect=aspect, flip=False, count=100)
    assert expected in drawn
    if size != (100, 100):
        assert set(drawn) == {expected}


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (101, 33), (50, 66)])
def test_crops_lie_inside_frames_of_any_size(height, width):
    for crop in [*crops(height, width, count=200), *resized(height, width, count=200)]:
        assert crop.height >= 1 and crop.width >= 1 and crop.top >= 0 and crop.left >= 0
        assert crop.top + crop.height <= height and crop.left + crop.width <= width


@pytest.mark.parametrize("size", [17, 48, 112])
def test_a_cut_is_what_pillow_gives(size):
    video = torch.from_numpy(noise(3, 90, 120))
    crop = Crop(10, 20, 60, 70)
    ours = cut(video, crop, size)
    assert ours.dtype == torch.uint8
    for frame, mine in zip(video, ours, strict=True):
        inside = Image.fromarray(frame.numpy()).crop((20, 10, 90, 70))
        theirs = np.asarray(inside.resize((size, size), Image.Resampling.BILINEAR))
        assert np.abs(theirs.astype(int) - mine.numpy()).max() <= 1


def test_a_mirrored_cut_is_the_cut_mirrored():
    video = torch.from_numpy(noise(2, 40, 50))
    plain, mirrored = (cut(video, Crop(3, 4, 30, 31, flip), 24) for flip in (False, True))
    assert torch.equal(plain.flip(2), mirrored)
    assert not torch.equal(plain, mirrored)


def test_the_centre_is_the_middle_square():
    assert centre_crop(101, 340) == Crop(0, 119, 101, 101)
    video = torch.zeros(2, 30, 90, 3, dtype=torch.uint8)
    video[:, :, 30:60] = 200
    assert (centre_clip(video, 16) == 200).all()
