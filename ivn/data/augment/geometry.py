"""Clips sheared, moved and turned, all frames alike: the nearest pixel, and black beyond edges."""

import math

import torch
from torch import Tensor

Affine = tuple[float, float, float, float, float, float]


def shear_x(clip: Tensor, share: float) -> Tensor:
    """Row y moved to the left by ``share * y``."""
    return affine(clip, (1, share, 0, 0, 1, 0))


def shear_y(clip: Tensor, share: float) -> Tensor:
    """Column x moved upwards by ``share * x``."""
    return affine(clip, (1, 0, 0, share, 1, 0))


def translate_x(clip: Tensor, share: float) -> Tensor:
    """Moved to the right by a share of the width, in whole pixels."""
    return affine(clip, (1, 0, -int(share * clip.shape[2]), 0, 1, 0))


def translate_y(clip: Tensor, share: float) -> Tensor:
    """Moved down by a share of the height, in whole pixels."""
    return affine(clip, (1, 0, 0, 0, 1, -int(share * clip.shape[1])))


def rotate(clip: Tensor, degrees: float) -> Tensor:
    """Turned anticlockwise about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = clip.shape[2] / 2, clip.shape[1] / 2
    return affine(clip, (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))


def affine(clip: Tensor, matrix: Affine) -> Tensor:
    """The clip, uint8 ``[T, H, W, 3]``, at ``(a x + b y + c, d x + e y + f)`` for each (x, y).

    Args:
        clip: of frames.
        matrix: a to f, for the middles of pixels, as Pillow's ``Image.transform`` has them.
    """
    _, height, width, _ = clip.shape
    # fp64 by one operation after another: the same pixels on every device.
    x = torch.arange(width, dtype=torch.float64, device=clip.device) + 0.5
    y = (torch.arange(height, dtype=torch.float64, device=clip.device) + 0.5)[:, None]
    a, b, c, d, e, f = matrix
    column, row = (x * a + y * b + c).floor().long(), (x * d + y * e + f).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row * width + column).where(inside, 0)
    return clip.flatten(1, 2)[:, index] * inside[..., None]
