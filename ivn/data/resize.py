"""Resizes frames to squares, with the same bytes on every device.

PyTorch resizes bytes only on a CPU. It rounds the weights of each output pixel to integers, sums
along the width, rounds to bytes, and does the same along the height. On other devices these sums
are exact matrix products. T frames, H height, W width, S side of the square.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

# A weight has 15 bits: the 7 low bits and the high bits are both below 2**8.
_LOW_BITS = 7


def resized(frames: Tensor, size: int) -> Tensor:
    """Returns the frames as squares, uint8 ``[T, S, S, 3]``: bilinear with antialiasing.

    Pillow's result differs by at most 1.

    Args:
        frames: frames, uint8 ``[T, H, W, 3]``.
        size: side S of the square.
    """
    if frames.device.type != "cpu":
        return resized_by_products(frames, size)
    out = F.interpolate(
        frames.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", antialias=True
    )
    return out.permute(0, 2, 3, 1).contiguous()


def resized_by_products(frames: Tensor, size: int) -> Tensor:
    """Returns the bits of :func:`resized` on a CPU, on any device."""
    narrow = _resized_rows(frames.permute(3, 0, 1, 2), size)
    square = _resized_rows(narrow.transpose(2, 3), size).transpose(2, 3)
    return square.permute(1, 2, 3, 0).contiguous()


def _resized_rows(pixels: Tensor, size: int) -> Tensor:
    """Resizes uint8 ``[..., N]`` to uint8 ``[..., S]``."""
    if pixels.shape[-1] == size:
        return pixels
    parts, bits, taps = _weights(pixels.shape[-1], size)
    # Integers below 2**8 are exact in any format that a product may use for fp32 (TF32, bfloat16),
    # and sums below 2**24 are exact in fp32; those of the high parts stay below 2**23.
    dtype = torch.float32 if 255 * taps << _LOW_BITS < 2**24 else torch.float64
    weights = parts.to(pixels.device, non_blocking=True).to(dtype).flatten(0, 1)
    high, low = (pixels.contiguous().to(dtype) @ weights.T).int().split(size, dim=-1)
    sums = (high << _LOW_BITS) + low + (1 << (bits - 1))
    return (sums >> bits).clamp_(max=255).to(torch.uint8)


@functools.lru_cache(maxsize=64)
def _weights(length: int, size: int) -> tuple[Tensor, int, int]:
    """Returns the integer weights of PyTorch's kernel for bytes, from N pixels to S.

    The steps are the kernel's, in its order and in fp64, so that every weight is rounded alike:
    triangles as wide as the scale, cut off at the edges, divided by their sums, then scaled by the
    largest power of two that leaves 15 bits (aten/src/ATen/native/cpu/UpSampleKernel.cpp).

    Returns:
        High and low parts of the weights, uint8 ``[2, S, N]`` on the host; the exponent of the
        power; and the largest number of weights of an output pixel.
    """
    scale = length / size
    support, narrowing = (scale, 1 / scale) if scale >= 1 else (1.0, 1.0)
    taps = 2 * math.ceil(support) + 1
    centre = scale * (torch.arange(size, dtype=torch.float64)[:, None] + 0.5)
    first = (centre - support + 0.5).long().clamp(min=0)
    index = first + torch.arange(taps)
    inside = index < (centre + support + 0.5).long().clamp(max=length)
    weights = 1 - ((index - centre + 0.5) * narrowing).abs()
    weights = weights.clamp(min=0).where(inside, 0)
    weights /= weights.cumsum(1)[:, -1:]
    largest = weights.max().item()
    bits = 0
    while bits < 22 and int(0.5 + largest * 2 ** (bits + 1)) < 2**15:
        bits += 1
    whole = (0.5 + weights * 2**bits).long()
    parts = torch.stack([whole >> _LOW_BITS, whole & (1 << _LOW_BITS) - 1]).to(torch.uint8)
    # Weights beyond the edge are 0.
    targets = index.clamp(max=length - 1).expand(2, -1, -1)
    return (
        torch.zeros(2, size, length, dtype=torch.uint8).scatter_add_(2, targets, parts),
        bits,
        taps,
    )
