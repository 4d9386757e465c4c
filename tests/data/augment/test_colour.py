"""Against Pillow on single frames, and what clips add."""

import colorsys
from itertools import islice

import numpy as np
import pytest
import torch

from ivn.data.augment import colour, geometry
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS, Source

Image = pytest.importorskip("PIL.Image")
ImageEnhance = pytest.importorskip("PIL.ImageEnhance")
ImageOps = pytest.importorskip("PIL.ImageOps")


def images():
    """A real frame, noise, few values, one value, one channel alone, gradients."""
    draw = np.random.default_rng(0)
    row, column = np.mgrid[0:48, 0:64]
    yield draw.integers(0, 256, (48, 64, 3), np.uint8)
    yield draw.integers(100, 104, (48, 64, 3), np.uint8)
    yield np.full((48, 64, 3), 77, np.uint8)
    yield np.stack([row * 5, np.zeros_like(row), column], 2).astype(np.uint8)
    yield np.stack([row + column, 255 - column, row * 2], 2).astype(np.uint8)
    pytest.importorskip("av")
    clip = Source(str(BUNDLED_CLIPS / "nasa.mp4"))
    yield decode(clip, lambda total: [total // 2])[0].numpy()


@pytest.fixture(scope="module", params=range(6))
def image(request):
    return next(islice(images(), request.param, None))


def ours(function, image, *strength):
    return function(torch.from_numpy(image.copy())[None], *strength)[0].numpy()


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.73, 1.0, 1.27, 1.9])
@pytest.mark.parametrize(
    ("function", "theirs"),
    [
        (colour.brightness, "Brightness"),
        (colour.contrast, "Contrast"),
        (colour.saturation, "Color"),
        (colour.sharpness, "Sharpness"),
    ],
)
def test_enhancements_are_pillows(image, function, theirs, factor):
    expected = getattr(ImageEnhance, theirs)(Image.fromarray(image)).enhance(factor)
    error = np.abs(ours(function, image, factor).astype(int) - np.asarray(expected).astype(int))
    # C may multiply and add at once: a value on the edge is cut to the next one.
    assert error.max() <= 1 and (error > 0).mean() < 0.02
    if factor == 1.0:
        assert (ours(function, image, factor) == image).all()


@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_posterize_is_pillows(image, bits):
    expected = np.asarray(ImageOps.posterize(Image.fromarray(image), bits))
    assert (ours(colour.posterize, image, bits) == expected).all()


@pytest.mark.parametrize("threshold", [0, 1, 128, 200, 255, 256])
def test_solarize_is_pillows(image, threshold):
    expected = np.asarray(ImageOps.solarize(Image.fromarray(image), threshold))
    assert (ours(colour.solarize, image, threshold) == expected).all()


@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_stretching_is_pillows(image, name):
    expected = np.asarray(getattr(ImageOps, name)(Image.fromarray(image)))
    assert (ours(getattr(colour, name), image) == expected).all()


@pytest.mark.parametrize("turn", [-0.5, -0.21, 0.0, 0.1, 0.5])
def test_hue_is_torchvisions(image, turn):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    given = torch.from_numpy(image.copy()).permute(2, 0, 1)
    expected = functional.adjust_hue_image(given, turn).permute(1, 2, 0).numpy()
    error = np.abs(ours(colour.hue, image, turn).astype(int) - expected.astype(int))
    # It cuts 255.999 times the value where we round.
    assert error.max() <= 1
    if turn == 0:
        assert (ours(colour.hue, image, turn) == image).all()


@pytest.mark.parametrize("turn", [-0.4, 0.13])
def test_hue_is_that_of_the_standard_library(image, turn):
    found, theirs = ours(colour.hue, image, turn), []
    for pixel in image[::6, ::6].reshape(-1, 3) / 255:
        turned, saturation, value = colorsys.rgb_to_hsv(*pixel)
        theirs.append(colorsys.hsv_to_rgb((turned + turn) % 1, saturation, value))
    error = np.abs(found[::6, ::6].reshape(-1, 3) - np.array(theirs) * 255)
    assert error.max() < 0.501


@pytest.mark.parametrize(
    ("function", "strength", "matrix"),
    [
        (geometry.shear_x, 0.21, (1, 0.21, 0, 0, 1, 0)),
        (geometry.shear_y, -0.29, (1, 0, 0, -0.29, 1, 0)),
        (geometry.translate_x, 0.25, (1, 0, -16, 0, 1, 0)),
        (geometry.translate_y, -0.25, (1, 0, 0, 0, 1, 12)),
    ],
)
def test_moves_are_pillows(function, strength, matrix):
    image = next(images())
    expected = Image.fromarray(image).transform((64, 48), Image.Transform.AFFINE, matrix)
    assert (ours(function, image, strength) == np.asarray(expected)).mean() > 0.99


@pytest.mark.parametrize("degrees", [-30.0, 7.0, 90.0, 180.0])
def test_turns_are_pillows(degrees):
    image = next(images())
    expected = np.asarray(Image.fromarray(image).rotate(degrees))
    same = (ours(geometry.rotate, image, degrees) == expected).all(2)
    # A point on the edge between two pixels may go to either.
    assert same.mean() > 0.98


EVERY = [
    *((function, 1.4) for function in (colour.brightness, colour.contrast, colour.saturation)),
    *((function, 0.2) for function in (colour.sharpness, colour.hue, geometry.shear_x)),
    *((geometry.rotate, 20.0), (geometry.translate_y, 0.2)),
    *((colour.posterize, 3), (colour.solarize, 100), (colour.autocontrast,), (colour.equalize,)),
]


@pytest.mark.parametrize("call", EVERY, ids=lambda call: call[0].__name__)
def test_a_colour_or_place_changes_alike_in_all_frames(call):
    function, *strength = call
    first, other = (torch.from_numpy(image.copy()) for image in islice(images(), 2))
    clip = function(torch.stack([first, other, first]), *strength)
    assert clip.dtype == torch.uint8 and clip.shape == (3, 48, 64, 3)
    assert torch.equal(clip[0], clip[2])
    if function in (colour.contrast, colour.autocontrast, colour.equalize):
        # By what the whole clip has in it.
        assert not torch.equal(clip[1], function(other[None], *strength)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("call", EVERY, ids=lambda call: call[0].__name__)
def test_a_gpu_gives_the_same_bits(call):
    function, *strength = call
    clip = torch.stack([torch.from_numpy(image.copy()) for image in islice(images(), 5)])
    there = function(clip.cuda(), *strength)
    assert torch.equal(there.cpu(), function(clip, *strength))
