"""A video file's frames as RGB, by one sequential pass of FFmpeg's decoders (PyAV).

Scattered frames are reached by decoding from the start and converting only the wanted ones:
seeking to each costs four times as much on clips of seconds with few key frames.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ivn.data.container import DecodeError, Window, opened, read_bytes
from ivn.data.contents import named
from ivn.data.source import Source

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.video.stream import VideoStream

__all__ = ["DecodeError", "Shown", "count_frames", "decode", "frames_in_order", "read_bytes"]


def decode(
    video: Source | str | os.PathLike[str],
    choose: Callable[[int], Sequence[int]],
    *,
    start: float = 0.0,
    end: float = -1.0,
) -> Tensor:
    """Chosen frames of a video, uint8 ``[T, H, W, 3]``, RGB, upright.

    Args:
        video: a file, or a source: then the window is its own.
        choose: from the number of frames in the window to the ``T`` wanted frame numbers, in any
            order, repeats allowed, negative ones counted from the end. Called again with the
            true number where the decoder gives fewer frames than the file has packets.
        start, end: the window in seconds from the stream's start; ``end`` -1 means all of it.

    Frames that change size in mid-stream are scaled to the size of the window's first.

    Raises:
        DecodeError: the file is missing, empty, no video, truncated or damaged where it matters.
    """
    source, window = _asked(video, start, end)
    total = _count_frames(source, window)
    while True:
        numbers = [_checked(number, total) for number in choose(total)]
        frames, seen = _decode_numbers(source, window, numbers)
        if frames is not None:
            return frames
        if seen == 0:
            raise DecodeError(f"{named(source)}: none of its {total} packets gives a frame")
        # Packets that show nothing (MPEG-4 in AVI, hidden VP8 frames) were counted as frames.
        total = seen


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
        video, start, end: as :func:`decode`.

    Raises:
        DecodeError: as :func:`decode`, before the first frame where packets show it, else when the
            damage is met.
    """
    source, window = _asked(video, start, end)
    _count_frames(source, window)
    first: tuple[int, int] | None = None
    with opened(source, window) as (_, stream, packets):
        low, high = window.ticks(stream)
        base, origin = float(stream.time_base or 1), stream.start_time or 0
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        time = -1 / rate
        for frame in _frames(stream, packets, high):
            if frame.pts is not None and not low <= frame.pts < high:
                continue
            # A frame without a time stamp follows the one before.
            time = time + 1 / rate if frame.pts is None else (frame.pts - origin) * base
            width, height = first = first or (frame.width, frame.height)

            def image(
                frame: "VideoFrame" = frame, width: int = width, height: int = height
            ) -> Tensor:
                return torch.from_numpy(_upright_rgb(frame, width, height).copy())

            yield Shown(time, rate, image)
    if first is None:
        raise DecodeError(f"{named(source)}: no packet gives a frame")


def count_frames(
    video: Source | str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0
) -> int:
    """The frames that the file holds between ``start`` and ``end``, from its packets.

    Containers' own counts are zero in WebM and wrong in AVI. A few files hold packets that show
    no frame: there this is an upper bound.

    Raises:
        DecodeError: as :func:`decode`.
    """
    return _count_frames(*_asked(video, start, end))


def _asked(
    video: Source | str | os.PathLike[str], start: float, end: float
) -> tuple[Source, Window]:
    if not isinstance(video, Source):
        video = Source(os.fspath(video), start=start, end=end)
    elif (start, end) != (0.0, -1.0):
        raise ValueError(f"start {start}, end {end}: a source has a window of its own")
    return video, Window(video.start, math.inf if video.end < 0 else video.end)


def _count_frames(source: Source, window: Window) -> int:
    with opened(source, window) as (container, stream, packets):
        declared = stream.frames if "mp4" in container.format.name else 0
        found = shown = 0
        low, high = window.ticks(stream)
        for packet in packets:
            if packet.dts is not None and packet.dts >= high:
                break
            if packet.size == 0:
                continue
            found += 1
            time = packet.dts if packet.pts is None else packet.pts
            if not packet.is_discard and (time is None or low <= time < high):
                shown += 1
    # The sample table of MP4 and MOV tells, before any frame is decoded, that data is missing.
    if window == Window() and found < declared:
        raise DecodeError(f"{named(source)}: truncated, {found} of {declared} frames are there")
    if shown == 0:
        inside = "" if window == Window() else f" from {window.start} s to {window.end} s"
        raise DecodeError(f"{named(source)}: no video frames{inside}")
    return shown


def _decode_numbers(
    source: Source, window: Window, numbers: list[int]
) -> tuple[Tensor | None, int]:
    """The frames with these numbers, or None and how many frames there are in truth."""
    slots: dict[int, list[int]] = {}
    for slot, number in enumerate(numbers):
        slots.setdefault(number, []).append(slot)
    out = np.empty((0, 0, 0, 3), np.uint8)
    width = height = seen = 0
    with opened(source, window) as (_, stream, packets):
        low, high = window.ticks(stream)
        for frame in _frames(stream, packets, high):
            if frame.pts is not None and not low <= frame.pts < high:
                continue
            if seen == 0:
                width, height = frame.width, frame.height
            if wanting := slots.pop(seen, None):
                image = _upright_rgb(frame, width, height)
                if not out.size:
                    out = np.empty((len(numbers), *image.shape), np.uint8)
                out[wanting] = image
            seen += 1
            if not slots:
                break
    return (None if slots else torch.from_numpy(out)), seen


def _frames(
    stream: "VideoStream", packets: "Iterator[Packet]", high: float
) -> "Iterator[VideoFrame]":
    for packet in packets:
        if packet.dts is not None and packet.dts >= high:
            yield from stream.codec_context.decode(None)
            return
        yield from packet.decode()


def _upright_rgb(frame: "VideoFrame", width: int, height: int) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    # FFmpeg's display angle and np.rot90 both count anticlockwise.
    return np.rot90(image, round(frame.rotation / 90))


def _checked(number: int, total: int) -> int:
    if not -total <= number < total:
        raise ValueError(f"frame {number} was chosen, the video has {total}")
    return int(number) % total
