"""Frames resized to the same bytes on every device."""

import numpy as np
import pytest
import torch

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from ivn.data.resize import _weights, resized, resized_by_products
from tests.media.videos import noise

SIDES = st.one_of(st.integers(1, 12), st.integers(1, 300))
# Far apart, odd, even, equal; of 1-pixel squares of 518 weights and more sums pass fp32's integers.
FAR = [
    *[(1, 1, 60), (1, 90, 7), (90, 1, 7), (3, 1000, 2), (600, 7, 1), (517, 518, 1), (519, 2, 1)],
    *[(256, 256, 256), (256, 340, 256), (340, 256, 256), (192, 168, 224), (480, 854, 112)],
]


def pixels(frames, height, width, *, extreme=False):
    made = torch.from_numpy(noise(frames, height, width))
    return (made > 127).byte() * 255 if extreme else made


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, SIDES, st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_products_of_matrices_give_pytorchs_bytes(height, width, size, top, left, extreme):
    """Of frames that are parts of larger ones, as crops are."""
    whole = pixels(2, height + 2 * top, width + left, extreme=extreme)
    frames = whole[:, top : top + height, left:]
    assert torch.equal(resized_by_products(frames, size), resized(frames, size))


@pytest.mark.parametrize(("height", "width", "size"), FAR)
@pytest.mark.parametrize("extreme", [False, True])
def test_they_do_so_whatever_the_scale(height, width, size, extreme):
    frames = pixels(1, height, width, extreme=extreme)
    assert torch.equal(resized_by_products(frames, size), resized(frames, size))
    white = torch.full_like(frames, 255)
    assert (resized_by_products(white, size) == 255).all()


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_setting_that_rounds_factors_changes_nothing(device, precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        for height, width, size in [(256, 192, 224), (300, 500, 112), (61, 83, 97), (480, 640, 9)]:
            frames = pixels(2, height, width)
            found = resized_by_products(frames.to(device), size)
            assert found.device.type == device
            assert torch.equal(found.cpu(), resized(frames, size))
    finally:
        torch.set_float32_matmul_precision(before)


def test_parts_of_weights_are_below_256_and_make_up_the_whole():
    """So products of few bits are exact, and sums of the high parts in fp32."""
    for length, size in [(1, 9), (9, 1), (224, 224), (256, 224), (640, 112), (4000, 3)]:
        parts, bits, taps = _weights(length, size)
        assert parts.dtype == torch.uint8 and parts.shape == (2, size, length)
        whole = (parts[0].long() << 7) + parts[1]
        assert parts[1].max() < 128 and whole.max() < 2**15
        assert bits == 22 or whole.max() >= 2**14 - 1
        assert 255 * parts[0].sum(1, dtype=torch.int64).max() < 2**23
        assert (whole.sum(1) - 2**bits).abs().max() <= taps / 2
        assert (whole > 0).sum(1).max() <= taps


@pytest.mark.gpu
def test_a_gpu_gives_the_bytes_of_the_cpu():
    for height, width, size in FAR:
        for extreme in (False, True):
            frames = pixels(2, height + 5, width + 3, extreme=extreme)[:, 2:-3, 1:-2]
            assert torch.equal(resized(frames.cuda(), size).cpu(), resized(frames, size))
    generator = np.random.default_rng(0)
    for _ in range(200):
        height, width, size = generator.integers(1, 300, 3).tolist()
        frames = pixels(1, height, width)
        assert torch.equal(resized(frames.cuda(), size).cpu(), resized(frames, size))
