"""One crop of a clip, the same for all its frames, resized for each consumer.

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

# Wang et al., "Temporal segment networks", ECCV 2016: multi-scale crops at 13 fixed places.
_SCALES = (1.0, 0.875, 0.75, 0.66)
_SIZES = [(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1]
# In quarters of the free width and height: corners, centre, edges, and between them.
_PLACES = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
_PLACES += [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]

# Draws of a random-resized crop before the centre is taken.
_TRIES = 10


@dataclass(frozen=True)
class Crop:
    """A rectangle of a frame, in pixels, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def of(self, video: Tensor) -> "Cropped":
        """The frames, uint8 ``[T, H, W, 3]``, inside it: a view."""
        bottom, right = self.top + self.height, self.left + self.width
        return Cropped(video[:, self.top : bottom, self.left : right], self.flip)


@dataclass(frozen=True)
class Cropped:
    """A clip after its crop, before it is resized.

    Attributes:
        frames: uint8 ``[T, H, W, 3]``, as decoded.
        flip: whether they are to be mirrored.
    """

    frames: Tensor
    flip: bool

    def square(self, frames: int, size: int) -> Tensor:
        """Every n-th frame of the clip's, resized and mirrored, uint8 ``[frames, size, size, 3]``.

        The same bits on every device.
        """
        out = resized(self.frames[:: len(self.frames) // frames], size)
        return out.flip(2) if self.flip else out

    def views(self, specs: Mapping[str, ClipSpec]) -> dict[str, Tensor]:
        """What each consumer sees, uint8 ``[T, size, size, 3]``, where the frames are."""
        shapes = {(spec.frames, spec.size) for spec in specs.values()}
        made = {shape: self.square(*shape) for shape in shapes}
        return {name: made[spec.frames, spec.size] for name, spec in specs.items()}


def multi_scale_crop(height: int, width: int, key: Tensor, *, flip: bool) -> Crop:
    """A random crop of TSN's kind, the same for every frame of a clip.

    Width and height are the short side times one of four scales each, at most one step apart;
    the place is one of 13. With ``flip``, half of the crops are mirrored.

    Args:
        height, width: of the frames.
        key: int64 ``[1, 4]`` of the sample.
        flip: whether mirrored clips are allowed.
    """
    size_word, place_word = random_words(key, Purpose.CROP, 2)[0].tolist()
    short = min(height, width)
    i, j = _SIZES[size_word * len(_SIZES) >> 32]
    crop_height, crop_width = (max(1, int(short * _SCALES[k])) for k in (i, j))
    x, y = _PLACES[place_word * len(_PLACES) >> 32]
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
    """A random crop of random area and aspect (Szegedy et al. 2014), the same for every frame.

    The share of the frame's area is uniform, the logarithm of width over height too, the place
    uniform. Ten draws are tried; where none fits into the frame, it is the largest crop in the
    middle whose aspect is allowed, as torchvision's RandomResizedCrop has it.

    Args:
        height, width: of the frames.
        key: int64 ``[1, 4]`` of the sample.
        area: least and largest share of the frame, in (0, 1].
        aspect: least and largest width over height.
        flip: whether mirrored clips are allowed; half of them are then.
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
    """The largest square in the middle: what inference sees."""
    short = min(height, width)
    return Crop((height - short) // 2, (width - short) // 2, short, short)


def cut(video: Tensor, crop: Crop, size: int) -> Tensor:
    """The crop of every frame, resized to a square: uint8 ``[T, size, size, 3]``.

    Args:
        video: uint8 ``[T, H, W, 3]``.
        crop: inside the frames.
        size: side of the result.
    """
    return crop.of(video).square(len(video), size)


def centre_clip(video: Tensor, size: int) -> Tensor:
    """The short side resized to ``size``, then the centre: uint8 ``[T, size, size, 3]``."""
    return cut(video, centre_crop(*video.shape[1:3]), size)


def _mirrored(key: Tensor) -> bool:
    return bool(integers(key, Purpose.FLIP, 1, 2))
