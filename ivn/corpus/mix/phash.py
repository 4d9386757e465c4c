"""A perceptual hash of a clip: 63 bits for each of eight of its frames.

The frames are the middles of eight equal parts. Each is made grey and 32 x 32 pixels; of its
discrete cosine transform the 8 x 8 lowest frequencies but the mean are kept, a bit each: whether it
is above their median (C. Zauner, Implementation and benchmarking of perceptual image hash
functions, 2010, section 3.2). Another codec, bit rate or size changes a few of the bits; another
picture half of them. As text: for each frame 16 hexadecimal digits, separated by spaces, or "-" for
a frame that shows next to nothing, such as a black one.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ivn.errors import DataError

# imagehash computes much the same, but brings SciPy and PyWavelets, and has no search.
FRAMES = 8
BITS = 63
_SIDE, _KEPT = 32, 8
# Grey levels of 255 by which a frame's pixels vary, below which it says nothing: fades and blanks.
_BLANK = 6.0
# Of 64 bits one is free.
_ABSENT = 1 << BITS


def hashed_frame_numbers(total: int) -> list[int]:
    """Returns the middles of eight equal parts of ``total`` frames; of few, some repeat."""
    return [(2 * part + 1) * total // (2 * FRAMES) for part in range(FRAMES)]


def thumbnails(frames: Tensor, side: int) -> np.ndarray:
    """Returns uint8 ``[T, H, W, 3]`` as grey pictures, float32 ``[T, side, side]``, 0 to 255."""
    grey = frames.to(torch.float32).mean(dim=-1)
    return torch.nn.functional.interpolate(grey[:, None], (side, side), mode="area")[:, 0].numpy()


def frame_hashes(frames: Tensor) -> list[int | None]:
    """Returns the hash of each frame, None for a blank one.

    Args:
        frames: uint8 ``[T, H, W, 3]``.
    """
    grey = thumbnails(frames, _SIDE)
    basis = _cosines()
    waves = np.einsum("ky,tyx,lx->tkl", basis, grey, basis).reshape(len(grey), -1)[:, 1:]
    bits = waves > np.median(waves, axis=1, keepdims=True)
    numbers = (bits * (1 << np.arange(BITS, dtype=np.uint64))).sum(axis=1, dtype=np.uint64)
    blank = grey.std(axis=(1, 2)) < _BLANK
    return [None if empty else int(one) for one, empty in zip(numbers, blank, strict=True)]


def to_text(hashes: Sequence[int | None]) -> str:
    """Returns the text of hashes in a manifest."""
    return " ".join("-" if one is None else f"{one:016x}" for one in hashes)


def from_text(text: str) -> list[int | None]:
    """Returns the hashes in a manifest's text.

    Raises:
        DataError: it is none.
    """
    words = text.split(" ")
    try:
        hashes = [None if word == "-" else int(word, 16) for word in words]
    except ValueError:
        hashes = []
    if len(hashes) != FRAMES or any(one is not None and one >> BITS for one in hashes):
        raise DataError(f"phash is {text[:80]!r}, expected {FRAMES} times 16 digits or -")
    return hashes


def as_arrays(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns many texts as hashes, uint64 ``[R, 8]``, and whether each is there, bool ``[R, 8]``.

    Raises:
        DataError: one is no such text.
    """
    values = array("Q")
    for text in texts:
        values.extend(_ABSENT if one is None else one for one in from_text(text))
    table = np.array(values, np.uint64).reshape(-1, FRAMES)
    return table, table != _ABSENT


@cache
def _cosines() -> np.ndarray:
    """Returns the lowest waves over 32 pixels, ``[8, 32]``."""
    places = 2 * np.arange(_SIDE) + 1
    return np.cos(np.pi / (2 * _SIDE) * np.arange(_KEPT)[:, None] * places).astype(np.float32)
