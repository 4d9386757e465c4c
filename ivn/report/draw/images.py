"""Encodes pixels as images inside a page: strips of frames, maps of tokens, heat maps.

Legend: t frames or slots, h x w pixels or tokens.
"""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

FRAMES = 8  # of a film, at most
SIDE = 176  # of a film's frame in pixels, at most
_THUMB = 80
_QUALITY = 76
# No more pixels than this a side, and they are tokens: drawn with hard edges, kept exactly.
_COARSE = 40

# Dark violet to pale yellow, even in lightness: grey prints keep the order.
_HEAT = np.array(
    [(13, 8, 42), (74, 16, 92), (142, 36, 98), (208, 67, 70), (246, 134, 40), (252, 245, 165)]
)


def coarse(pixels: Pixels) -> bool:
    """Returns whether ``[..., h, w, 3]`` is a map of tokens."""
    return pixels.shape[-2] <= _COARSE


# Strips that a script moves, not animated images: all keep the same time and can be stopped.
def strip_uri(film: Pixels) -> tuple[str, int]:
    """Returns evenly spaced frames side by side as a data URI, and their number.

    Frames are made smaller and stored as WebP; maps of tokens are PNG, a pixel a token.

    Args:
        film: uint8 ``[t, h, w, 3]``.
    """
    if film.dtype != np.uint8 or film.ndim != 4 or film.shape[3] != 3 or not film.size:
        raise ValueError(f"film is {film.dtype} {list(film.shape)}, expected uint8 [t, h, w, 3]")
    chosen = np.unique(np.linspace(0, len(film) - 1, FRAMES).round().astype(int))
    frames = film[chosen]
    if coarse(frames):
        return _uri(Image.fromarray(np.concatenate(list(frames), axis=1)), "PNG"), len(frames)
    size = _fitting(frames.shape[1], frames.shape[2], SIDE)
    small = [np.asarray(_resized(frame, size)) for frame in frames]
    return _uri(Image.fromarray(np.concatenate(small, axis=1)), "WEBP"), len(frames)


def image_uri(pixels: Pixels) -> str:
    """Returns ``[h, w, 3]`` as a data URI, unchanged."""
    return _uri(Image.fromarray(pixels), "PNG" if coarse(pixels) else "WEBP")


def thumbnail(frame: Pixels) -> Pixels:
    """Returns a reduced copy of ``[h, w, 3]``."""
    return np.asarray(_resized(frame, _fitting(frame.shape[0], frame.shape[1], _THUMB)))


def heat(frames: Pixels, values: NDArray[np.floating]) -> Pixels:
    """Returns frames in grey under the colours of ``values`` ``[t, h, w]``, ``[T, H, W, 3]``.

    The colours go from the clip's least value to its 99th percentile.
    """
    T, H, W = frames.shape[:3]
    colours = heat_colours(values)
    layers = [
        _resized(colours[i * len(colours) // T], (W, H), Image.Resampling.BICUBIC) for i in range(T)
    ]
    grey = frames.mean(3, keepdims=True)
    mixed = 0.4 * grey + 0.6 * np.stack([np.asarray(layer) for layer in layers])
    return np.rint(mixed).astype(np.uint8)


def heat_colours(values: NDArray[np.floating]) -> Pixels:
    """Returns colours of numbers, from the smallest to the 99th percentile, ``[..., 3]``."""
    low, high = float(values.min()), float(np.percentile(values, 99))
    share = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)
    place = share * (len(_HEAT) - 1)
    below = np.minimum(place.astype(int), len(_HEAT) - 2)
    part = (place - below)[..., None]
    mixed = (1 - part) * _HEAT[below] + part * _HEAT[below + 1]
    return np.rint(mixed).astype(np.uint8)


def _fitting(height: int, width: int, side: int) -> tuple[int, int]:
    """Returns width and height, reduced so that no side is above ``side``."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(
    pixels: Pixels,
    size: tuple[int, int],
    method: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image if image.size == size else image.resize(size, method)


def _uri(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, quality=_QUALITY, method=4, optimize=True)  # each kind takes its own
    code = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{code}"
