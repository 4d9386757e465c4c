"""Drawn scenes: overlapping shapes of all sizes under noise of several octaves."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ivn.keys import Purpose
from ivn.ops.random import integers, uniform

SIZE = (256, 384)  # height and width, those of the bundled clips

# Layers of Purpose.MOTION; every picture uses those below.
_COLOUR_LAYER, _LEAF_LAYER, _STRENGTH_LAYER, _SCALE_LAYER, _NOISE_LAYER = 8, 9, 10, 11, 16
_COLOURS = 6
_LEAVES = 800
_RADII = (5.0, 100.0)  # in pixels; multiplied, like the cells, by the scene's scale
_CELLS = (3, 6, 12, 24, 48)  # pixels from one value of the noise to the next
_LARGEST_SCALE = 2.5
_STRONGEST = 40  # largest noise of an octave, in levels of 255


def textured(key: Tensor) -> np.ndarray:
    """Draws a scene, uint8 ``[256, 384, 3]``: dead leaves and band-limited noise.

    Leaves fall on one another, their radii of density ``r ** -3``, which gives the statistics of
    natural images (Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001).
    Every scene has a scale of its own, so that its fineness does not reveal a zoom. One machine
    gives the same bytes in every run. The random words are the same everywhere, but coordinates
    are floating point, and another Pillow may draw or round differently.

    Args:
        key: key of the scene, int64 ``[1, 4]``.
    """
    height, width = SIZE
    levels = 32 + integers(key, Purpose.MOTION, 3 * _COLOURS, 192, layer=_COLOUR_LAYER)
    palette = [tuple(colour) for colour in levels.reshape(-1, 3).tolist()]
    share = uniform(key, Purpose.MOTION, 1, layer=_SCALE_LAYER, dtype=torch.float64).item()
    scale = 1 + (_LARGEST_SCALE - 1) * share
    # Twice the size, then halved: smooth edges.
    canvas = Image.new("RGB", (2 * width, 2 * height), palette[0])
    _draw_leaves(ImageDraw.Draw(canvas), palette, scale, key)
    pixels = np.asarray(canvas.reduce(2), np.int64) + _noise(scale, key)
    return pixels.clip(0, 255).astype(np.uint8)


def _draw_leaves(
    draw: ImageDraw.ImageDraw, palette: list[tuple[int, ...]], scale: float, key: Tensor
) -> None:
    """Draws ellipses, and quadrilaterals with a corner on each side of their box."""
    height, width = SIZE
    smallest, largest = (scale * radius for radius in _RADII)
    u = uniform(key, Purpose.MOTION, 10 * _LEAVES, layer=_LEAF_LAYER, dtype=torch.float64)
    for leaf in u.reshape(_LEAVES, 10).tolist():
        x, y, size, aspect, shape, colour, *corners = leaf
        ratio = smallest / largest
        radius = smallest / math.sqrt(1 - size * (1 - ratio * ratio))
        # The canvas has twice the pixels; sides differ by a factor of two at most.
        across, down = 2 * radius * (0.7 + 0.6 * aspect), 2 * radius * (1.3 - 0.6 * aspect)
        left, top = 2 * width * x - across, 2 * height * y - down
        right, bottom = left + 2 * across, top + 2 * down
        fill = palette[int(colour * len(palette))]
        if shape < 0.5:
            draw.ellipse([left, top, right, bottom], fill)
        else:
            a, b, c, d = corners
            outline = [
                (left + a * (right - left), top),
                (right, top + b * (bottom - top)),
                (left + c * (right - left), bottom),
                (left, top + d * (bottom - top)),
            ]
            draw.polygon(outline, fill)


def _noise(scale: float, key: Tensor) -> np.ndarray:
    """Returns a sum of smooth noises of keyed strengths, int64 ``[H, W, 3]``."""
    height, width = SIZE
    total = np.zeros((height, width, 3), np.int64)
    strengths = integers(key, Purpose.MOTION, len(_CELLS), _STRONGEST + 1, layer=_STRENGTH_LAYER)[
        0
    ].tolist()
    for octave, (cell, strength) in enumerate(zip(_CELLS, strengths, strict=True)):
        rows, columns = round(height / (cell * scale)), round(width / (cell * scale))
        words = integers(key, Purpose.MOTION, 3 * rows * columns, 256, layer=_NOISE_LAYER + octave)
        grid = words.reshape(rows, columns, 3).numpy().astype(np.uint8)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(smooth, np.int64) - 128) * strength >> 7
    return total
