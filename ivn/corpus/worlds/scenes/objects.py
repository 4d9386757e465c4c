"""Flat objects of eight kinds, as pictures with an outline."""

import math

import numpy as np
from PIL import Image

from .textures import texture

OBJECTS = ("disc", "square", "triangle", "star", "ring", "cross", "bar", "crescent")
OUTLINES = (15, 240)  # of 255, the levels of an outline: dark or light
_TILT = 0.3  # largest angle by which an object is turned, in radians; a bar is turned freely


def drawn_object(
    rng: np.random.Generator, kind: str, family: str, radius: float, outline: int
) -> Image.Image:
    """Draws an object, a picture with transparency.

    Args:
        rng: source of random numbers.
        kind: one of :data:`OBJECTS`.
        family: family of its texture.
        radius: radius in samples.
        outline: level of the outline, one of :data:`OUTLINES`.
    """
    inside = _shape(rng, kind, radius)
    core = inside.copy()
    for axis in (0, 1):
        for shift in (-2, 2):
            core &= np.roll(inside, shift, axis)
    colours = texture(rng, family, len(inside), 0.8 * radius)
    colours[inside & ~core] = outline
    return Image.fromarray(np.dstack([colours, inside.astype(np.uint8) * 255]))


def _shape(rng: np.random.Generator, kind: str, radius: float) -> np.ndarray:
    """Returns the samples that an object covers, bool, square."""
    reach = math.ceil(1.25 * radius) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] / radius
    angle = rng.random() * math.pi if kind == "bar" else rng.uniform(-_TILT, _TILT)
    x, y = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    r, wide, high = np.hypot(x, y), np.abs(x), np.abs(y)
    if kind == "disc":
        return r < 1
    if kind == "square":
        return np.maximum(wide, high) < 0.88
    if kind == "triangle":
        return (y < 0.6) & (y > 1.75 * wide - 1.1)
    if kind == "star":
        return r < 0.66 + 0.4 * np.cos(5 * (np.arctan2(y, x) + math.pi / 2))
    if kind == "ring":
        return (r < 1.05) & (r > 0.55)
    if kind == "cross":
        return (np.minimum(wide, high) < 0.34) & (np.maximum(wide, high) < 1.05)
    if kind == "bar":
        return (wide < 1.2) & (high < 0.38)
    return (r < 1.05) & (np.hypot(x - 0.5, y) > 0.8)
