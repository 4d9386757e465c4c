"""Textures: eight families of patterns, each instance with colours and a shading of its own.

n is the side of a texture in samples; its period is in samples, too.
"""

import math

import numpy as np

TEXTURES = ("stripes", "checks", "dots", "bricks", "clouds", "cells", "maze", "rings")
# The least mean difference of a texture's two colours, in levels of 255.
_CONTRAST = 60
_SHADING = 0.3


def texture(rng: np.random.Generator, family: str, n: int, period: float) -> np.ndarray:
    """Draws an instance of one of :data:`TEXTURES`, uint8 ``[n, n, 3]``.

    Slow shading goes over the pattern, so that no two places look alike and every movement of a
    regular pattern can be seen.
    """
    pattern = _pattern(rng, family, n, period)[..., None]
    first, second = rng.integers(20, 236, (2, 3))
    while np.abs(first - second).mean() < _CONTRAST:
        first, second = rng.integers(20, 236, (2, 3))
    shading = 1 + _SHADING * smooth(rng, n, period * rng.uniform(1.5, 3.0))[..., None]
    colours = (first * (1 - pattern) + second * pattern) * shading
    return colours.clip(0, 255).astype(np.uint8)


def smooth(rng: np.random.Generator, n: int, cell: float) -> np.ndarray:
    """Draws smooth noise of mean 0, float64 ``[n, n]``: independent values ``cell`` samples apart.

    Values between them are interpolated, with a slope of 0 at each.
    """
    size = int(n / cell) + 3
    values = rng.standard_normal((size, size))

    def weights(start: float) -> np.ndarray:
        place = np.arange(n) / cell + start
        left = place.astype(int)
        share = place - left
        share = share * share * (3 - 2 * share)
        out = np.zeros((n, size))
        out[np.arange(n), left], out[np.arange(n), left + 1] = 1 - share, share
        return out

    return weights(rng.random()) @ values @ weights(rng.random()).T


def _pattern(rng: np.random.Generator, family: str, n: int, period: float) -> np.ndarray:
    """Returns the share of the second colour, ``[n, n]`` in [0, 1]."""
    if family == "clouds":
        octaves = [smooth(rng, n, max(2.0, period / part)) / part for part in (1, 2, 4)]
        return (0.5 + 0.3 * np.sum(octaves, 0)).clip(0, 1)
    if family == "maze":
        return (np.abs(smooth(rng, n, max(2.0, 0.6 * period))) < 0.35).astype(float)
    if family == "cells":
        return _cells(rng, n, 0.9 * period)
    y, x = np.mgrid[:n, :n] / period
    if family == "rings":
        row, column = rng.random(2) * n / period
        return (np.sin(2 * math.pi * np.hypot(y - row, x - column)) > 0).astype(float)
    angle = rng.random() * math.pi
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    if family == "stripes":
        inside = u % 1 < rng.uniform(0.4, 0.6)
    elif family == "checks":
        inside = (np.floor(1.4 * u) + np.floor(1.4 * v)) % 2 == 0
    elif family == "dots":
        inside = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.11
    else:
        row = np.floor(1.6 * v)
        inside = ((0.8 * u + 0.5 * (row % 2)) % 1 < 0.12) | (1.6 * v % 1 < 0.2)
    return inside.astype(float)


def _cells(rng: np.random.Generator, n: int, cell: float) -> np.ndarray:
    """Returns cells of one value each: every sample has that of the nearest of scattered points."""
    size = int(n / cell) + 4
    points, values = rng.random((size, size, 2)), rng.random((size, size))
    y, x = np.mgrid[:n, :n] / cell + 1  # with a row of points before the first, too
    row, column = y.astype(int), x.astype(int)
    nearest, out = np.full((n, n), np.inf), np.zeros((n, n))
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            i, j = row + down, column + right
            distance = (i + points[i, j, 0] - y) ** 2 + (j + points[i, j, 1] - x) ** 2
            closer = distance < nearest
            nearest, out = np.where(closer, distance, nearest), np.where(closer, values[i, j], out)
    return out
