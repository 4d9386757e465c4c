"""One crop of a clip, the same for all its frames, resized for each consumer.

T frames, H height, W width of the decoded frames.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ivn.ops.random import Purpose, integers, random_words

# Wang et al., "Temporal segment networks", ECCV 2016: multi-scale crops at 13 fixed places.
_SCALES = (1.0, 0.875, 0.75, 0.66)
_SIZES = [(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1]
# In quarters of the free width and height: corners, centre, edges, and between them.
_PLACES = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
_PLACES += [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]


@dataclass(frozen=True)
class Crop:
    """A rectangle of a frame, in pixels, mirrored or not."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


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
    mirrored = flip and bool(integers(key, Purpose.FLIP, 1, 2))
    return Crop(
        y * ((height - crop_height) // 4),
        x * ((width - crop_width) // 4),
        crop_height,
        crop_width,
        mirrored,
    )


def centre_crop(height: int, width: int) -> Crop:
    """The largest square in the middle: what inference sees."""
    short = min(height, width)
    return Crop((height - short) // 2, (width - short) // 2, short, short)


def cut(video: Tensor, crop: Crop, size: int) -> Tensor:
    """The crop of every frame, resized to a square: uint8 ``[T, size, size, 3]``.

    Bilinear with antialiasing, as Pillow's: values differ from it by at most 1.

    Args:
        video: uint8 ``[T, H, W, 3]``.
        crop: inside the frames.
        size: side of the result.
    """
    inside = video[
        :, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width
    ].permute(0, 3, 1, 2)
    out = F.interpolate(inside, size=(size, size), mode="bilinear", antialias=True)
    if crop.flip:
        out = out.flip(3)
    return out.permute(0, 2, 3, 1).contiguous()


def centre_clip(video: Tensor, size: int) -> Tensor:
    """The short side resized to ``size``, then the centre: uint8 ``[T, size, size, 3]``."""
    return cut(video, centre_crop(*video.shape[1:3]), size)
