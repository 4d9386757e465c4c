"""All frames of a video, one after another."""

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
from ivn.media.storage import named

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class Shown:
    """A decoded frame, not yet converted.

    Attributes:
        time: seconds from the first frame of the file at which it appears.
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
        video, start, end: as :func:`ivn.media.decode.decode`.

    Raises:
        DecodeError: as :func:`ivn.media.decode.decode`, before the first frame where packets show
            it, else when the damage is met.
    """
    source = as_source(video, start, end)
    window = window_of(source)
    with read_window(source, times=True) as read:
        pass
    any_frame = False
    with opened_again(source, read) as (stream, packets):
        clock, converter = read.clock, Converter()
        _, high = clock.span(window)
        for frame, seconds in clock.inside(frames_of(stream, packets, high), window):
            converter.fits(frame)
            any_frame = True

            def image(frame: "VideoFrame" = frame) -> Tensor:
                return torch.from_numpy(converter.image(frame).copy())

            yield Shown(seconds, float(clock.rate), image)
    if not any_frame:
        raise DecodeError(f"{named(source)}: no packet gives a frame")


def count_frames(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> int:
    """The frames that the file shows between ``start`` and ``end``.

    From its packets, where these tell: containers' own counts are zero in WebM and wrong in AVI.
    Else by decoding.

    Raises:
        DecodeError: as :func:`ivn.media.decode.decode`.
    """
    with read_window(as_source(video, start, end), count=True) as read:
        return read.found.count
