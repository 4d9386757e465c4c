"""All frames of a video, one after another."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ivn.data.container import DecodeError, opened
from ivn.data.contents import named
from ivn.data.decode.packets import count_packets
from ivn.data.decode.pyav import Converter, frames_of
from ivn.data.decode.request import as_source, window_of
from ivn.data.source import Source

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class Shown:
    """A decoded frame, not yet converted.

    Attributes:
        time: seconds from the stream's start at which it appears.
        rate: the stream's frames a second, on average.
        image: gives uint8 ``[H, W, 3]``, RGB, upright, of the size of the window's first frame.
    """

    time: float
    rate: float
    image: Callable[[], Tensor]


def frames_in_order(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> Iterator[Shown]:
    """All frames of the window, one after another, in memory that does not grow with the video.

    Args:
        video, start, end: as :func:`ivn.data.decode.decode`.

    Raises:
        DecodeError: as :func:`ivn.data.decode.decode`, before the first frame where packets show
            it, else when the damage is met.
    """
    source = as_source(video, start, end)
    window = window_of(source)
    count_frames(source)
    any_frame = False
    with opened(source, window) as (_, stream, packets):
        low, high = window.ticks(stream)
        base, origin = float(stream.time_base or 1), stream.start_time or 0
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        time = -1 / rate
        converter = Converter()
        for frame in frames_of(stream, packets, high):
            if frame.pts is not None and not low <= frame.pts < high:
                continue
            # A frame without a time stamp follows the one before.
            time = time + 1 / rate if frame.pts is None else (frame.pts - origin) * base
            converter.fits(frame)
            any_frame = True

            def image(frame: "VideoFrame" = frame) -> Tensor:
                return torch.from_numpy(converter.image(frame).copy())

            yield Shown(time, rate, image)
    if not any_frame:
        raise DecodeError(f"{named(source)}: no packet gives a frame")


def count_frames(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> int:
    """The frames that the file holds between ``start`` and ``end``, from its packets.

    Containers' own counts are zero in WebM and wrong in AVI. A few files hold packets that show
    no frame: there this is an upper bound.

    Raises:
        DecodeError: as :func:`ivn.data.decode.decode`.
    """
    source = as_source(video, start, end)
    window = window_of(source)
    with opened(source, window) as (container, stream, packets):
        return count_packets(named(source), container, stream, packets, window)
