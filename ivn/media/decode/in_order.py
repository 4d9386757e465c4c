"""Decodes all frames of a video, one after another."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ivn.errors import DecodeError
from ivn.media.container import window_of
from ivn.media.decode.pyav import Converter
from ivn.media.decode.request import as_source
from ivn.media.demux.reading import frames_of, opened_again, read_window
from ivn.media.source import Source
from ivn.media.storage import name_of

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class TimedFrame:
    """A decoded frame with its time, not yet converted to RGB.

    Attributes:
        time: time at which it appears, in seconds from the first frame of the file.
        rate: average number of frames per second of the stream.
        image: function that returns uint8 ``[H, W, 3]``, RGB, upright, of the size of the window's
            first frame.
    """

    time: float
    rate: float
    image: Callable[[], Tensor]


def frames_in_order(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> Iterator[TimedFrame]:
    """Yields all frames of the window, in memory that does not grow with the video.

    Args:
        video, start, end: video and window, see :func:`ivn.media.decode.decode`.

    Raises:
        DecodeError: The file is unusable: raised before the first frame where packets show it,
            otherwise at the damage.
    """
    source = as_source(video, start, end)
    window = window_of(source)
    with read_window(source, times=True) as reading:
        pass
    any_frame = False
    with opened_again(source, reading) as (stream, packets):
        clock, converter = reading.clock, Converter()
        _, high = clock.span(window)
        for frame, seconds in clock.inside(frames_of(stream, packets, high), window):
            converter.fits(frame)
            any_frame = True

            def image(frame: "VideoFrame" = frame) -> Tensor:
                return torch.from_numpy(converter.image(frame).copy())

            yield TimedFrame(seconds, float(clock.rate), image)
    if not any_frame:
        raise DecodeError(f"{name_of(source)}: no packet gives a frame")


def count_frames(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> int:
    """Returns the number of frames that the file shows between ``start`` and ``end``.

    It counts packets, or decoded frames where packets do not tell. The counts in containers are not
    used: they are zero in WebM and wrong in AVI.

    Raises:
        DecodeError: The file is unusable.
    """
    with read_window(as_source(video, start, end), count=True) as reading:
        return reading.table.count
