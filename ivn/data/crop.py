"""Crops a clip, all frames alike, and resizes it for each consumer.

T frames, H height, W width of the decoded frames.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.resize import resized
from ivn.keys import Purpose
from ivn.ops.random import integers, random_words

# Wang et al., "Temporal segment networks", ECCV 2016: multi-scale crops at 13 fixed positions.
_SCALES = (1.0, 0.875, 0.75, 0.66)
_SIZES = [(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1]
# Positions, in quarters of the free width and height: corners, centre, edges, and between them.
_POSITIONS = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
_POSITIONS += [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]

# Draws of a random-resized crop before the central crop is used.
_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """A rectangle of a frame, in pixels, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def of(self, video: Tensor) -> "CroppedClip":
        """Returns this part of the frames, uint8 ``[T, H, W, 3]``, as a view."""
        bottom, right = self.top + self.height, self.left + self.width
        return CroppedClip(video[:, self.top : bottom, self.left : right], self.flip)


@dataclass(frozen=True)
class CroppedClip:
    """A clip that is cropped and not yet resized.

    Attributes:
        frames: decoded frames, uint8 ``[T, H, W, 3]``.
        flip: whether resizing mirrors them.
    """

    frames: Tensor
    flip: bool

    def square(self, frames: int, size: int) -> Tensor:
        """Returns evenly spaced frames, resized and mirrored, uint8 ``[frames, size, size, 3]``.

        The bits are the same on every device.

        Args:
            frames: number of frames, a divisor of T.
            size: side of the result, in pixels.
        """
        out = resized(self.frames[:: len(self.frames) // frames], size)
        return out.flip(2) if self.flip else out

    def for_consumers(self, specs: Mapping[str, ClipSpec]) -> dict[str, Tensor]:
        """Returns each consumer's clip, uint8 ``[T, size, size, 3]``, on the frames' device."""
        shapes = {(spec.frames, spec.size) for spec in specs.values()}
        squares = {shape: self.square(*shape) for shape in shapes}
        return {name: squares[spec.frames, spec.size] for name, spec in specs.items()}


def multi_scale_crop(height: int, width: int, key: Tensor, *, flip: bool) -> Crop:
    """Returns a random multi-scale crop, as in temporal segment networks.

    Width and height are the short side times one of four scales each, which differ by at most one
    step; the position is one of 13.

    Args:
        height, width: size of the frames.
        key: key of the sample, int64 ``[1, 4]``.
        flip: whether half of the crops are mirrored.
    """
    size_word, position_word = random_words(key, Purpose.CROP, 2)[0].tolist()
    short = min(height, width)
    i, j = _SIZES[size_word * len(_SIZES) >> 32]
    crop_height, crop_width = (max(1, int(short * _SCALES[k])) for k in (i, j))
    x, y = _POSITIONS[position_word * len(_POSITIONS) >> 32]
    return Crop(
        y * ((height - crop_height) // 4),
        x * ((width - crop_width) // 4),
        crop_height,
        crop_width,
        flip and _mirrored(key),
    )


def random_resized_crop(
    height: int,
    width: int,
    key: Tensor,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    flip: bool,
) -> Crop:
    """Returns a random crop of random area and aspect (Szegedy et al. 2014).

    The share of the frame's area, the logarithm of width over height and the position are uniform.
    Where none of ten draws fits into the frame, it is the largest central crop of an allowed
    aspect, as in torchvision's RandomResizedCrop.

    Args:
        height, width: size of the frames.
        key: key of the sample, int64 ``[1, 4]``.
        area: smallest and largest share of the frame, in (0, 1].
        aspect: smallest and largest width over height.
        flip: whether half of the crops are mirrored.
    """
    low, high = (math.log(value) for value in aspect)
    words = random_words(key, Purpose.CROP, 4 * _TRIES)[0].view(_TRIES, 4).tolist()
    for area_word, aspect_word, top_word, left_word in words:
        u, v = ((word + 0.5) / 2**32 for word in (area_word, aspect_word))
        pixels = height * width * (area[0] + u * (area[1] - area[0]))
        ratio = math.exp(low + v * (high - low))
        crop_height, crop_width = round((pixels / ratio) ** 0.5), round((pixels * ratio) ** 0.5)
        if 0 < crop_height <= height and 0 < crop_width <= width:
            top = top_word * (height - crop_height + 1) >> 32
            left = left_word * (width - crop_width + 1) >> 32
            return Crop(top, left, crop_height, crop_width, flip and _mirrored(key))
    crop_height = max(1, min(height, round(width / aspect[0])))
    crop_width = max(1, min(width, round(height * aspect[1])))
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return Crop(top, left, crop_height, crop_width, flip and _mirrored(key))


def centre_crop(height: int, width: int) -> Crop:
    """Returns the largest central square, which inference uses."""
    short = min(height, width)
    return Crop((height - short) // 2, (width - short) // 2, short, short)


def cut(video: Tensor, crop: Crop, size: int) -> Tensor:
    """Returns the crop of every frame, resized to a square: uint8 ``[T, size, size, 3]``.

    Args:
        video: frames, uint8 ``[T, H, W, 3]``.
        crop: rectangle inside the frames.
        size: side of the result, in pixels.
    """
    return crop.of(video).square(len(video), size)


def centre_clip(video: Tensor, size: int) -> Tensor:
    """Returns the central square of every frame, resized: uint8 ``[T, size, size, 3]``."""
    return cut(video, centre_crop(*video.shape[1:3]), size)


def _mirrored(key: Tensor) -> bool:
    return bool(integers(key, Purpose.FLIP, 1, 2))
