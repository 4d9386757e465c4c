"""Chooses the frames of a clip: sparse sampling over the whole length of a video.

Temporal segment networks (Wang et al., ECCV 2016): one random frame in each of T equal segments.
"""

import torch
from torch import Tensor

from ivn.data.config import FrameOffsets
from ivn.keys import Purpose
from ivn.ops.random import random_words


def frame_numbers(
    total: int, frames: int, key: Tensor, *, offsets: FrameOffsets = "correct"
) -> list[int]:
    """Returns one uniform random frame in each of ``frames`` equal segments, ascending.

    For a video shorter than ``frames`` they are sorted uniform draws with repetition.

    Args:
        total: number of frames in the video, at least 1.
        frames: number of frames in the clip.
        key: key of the sample, int64 ``[1, 4]``.
        offsets: ``"correct"`` covers all frames: segment ``i`` is ``[i * total // frames,
            (i + 1) * total // frames)``. ``"released"`` follows the released code: segments have
            ``total // frames`` frames, and every number is one less than drawn, so that the first
            may be -1, the last frame; short videos give -1 only.
    """
    _check(total, frames)
    words = random_words(key, Purpose.FRAMES, frames)[0]
    if offsets == "released":
        length = total // frames
        return (torch.arange(frames) * length + (words * length >> 32) - 1).tolist()
    if total < frames:
        return (words * total >> 32).sort().values.tolist()
    edge = torch.arange(frames + 1) * total // frames
    return (edge[:-1] + (words * edge.diff() >> 32)).tolist()


def centre_frame_numbers(total: int, frames: int) -> list[int]:
    """Returns the middle frame of each of ``frames`` equal segments, which inference uses."""
    _check(total, frames)
    return [(2 * segment + 1) * total // (2 * frames) for segment in range(frames)]


def _check(total: int, frames: int) -> None:
    if total < 1 or frames < 1:
        raise ValueError(f"{frames} frames of a video of {total}: expected at least 1 of each")
