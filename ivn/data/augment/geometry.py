"""Shears, moves and turns clips, by the nearest pixel, with black beyond the edges."""

import math

import torch
from torch import Tensor

Affine = tuple[float, float, float, float, float, float]


def shear_x(clip: Tensor, share: float) -> Tensor:
    """Moves line y to the left by ``share * y``."""
    return affine(clip, (1, share, 0, 0, 1, 0))


def shear_y(clip: Tensor, share: float) -> Tensor:
    """Moves column x upwards by ``share * x``."""
    return affine(clip, (1, 0, 0, share, 1, 0))


def translate_x(clip: Tensor, share: float) -> Tensor:
    """Moves frames to the right by a share of the width, in whole pixels."""
    return affine(clip, (1, 0, -int(share * clip.shape[2]), 0, 1, 0))


def translate_y(clip: Tensor, share: float) -> Tensor:
    """Moves frames down by a share of the height, in whole pixels."""
    return affine(clip, (1, 0, 0, 0, 1, -int(share * clip.shape[1])))


def rotate(clip: Tensor, degrees: float) -> Tensor:
    """Turns frames anticlockwise about the middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = clip.shape[2] / 2, clip.shape[1] / 2
    return affine(clip, (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y))


def affine(clip: Tensor, matrix: Affine) -> Tensor:
    """Returns a clip whose pixel (x, y) is that at ``(a x + b y + c, d x + e y + f)``.

    Args:
        clip: frames, uint8 ``[T, H, W, 3]``.
        matrix: coefficients a to f, for the centres of pixels, as in Pillow's ``Image.transform``.
    """
    _, height, width, _ = clip.shape
    # One fp64 operation after another gives the same pixels on every device.
    x = torch.arange(width, dtype=torch.float64, device=clip.device) + 0.5
    y = (torch.arange(height, dtype=torch.float64, device=clip.device) + 0.5)[:, None]
    a, b, c, d, e, f = matrix
    column, row = (x * a + y * b + c).floor().long(), (x * d + y * e + f).floor().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = (row * width + column).where(inside, 0)
    return clip.flatten(1, 2)[:, index] * inside[..., None]
