"""A video file's frames as RGB, by one sequential pass of FFmpeg's decoders (PyAV).

Scattered frames are reached by decoding from the start and converting only the wanted ones:
seeking to each costs four times as much on clips of seconds with few key frames.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# A seek lands on a key frame at or before the wanted time; nearer the start it gains nothing.
_SEEK_FROM_SECONDS = 5.0
# Twice 8K. A damaged header can ask for frames of gigabytes.
_MAX_PIXELS = 2**26


class DecodeError(ValueError):
    """A file cannot give the frames that were asked for; the message names it and says why."""


def decode(
    path: str | os.PathLike[str],
    choose: Callable[[int], Sequence[int]],
    *,
    start: float = 0.0,
    end: float = -1.0,
) -> Tensor:
    """Chosen frames of a video, uint8 ``[T, H, W, 3]``, RGB, upright.

    Args:
        path: a video file.
        choose: from the number of frames in the window to the ``T`` wanted frame numbers, in any
            order, repeats allowed, negative ones counted from the end. Called again with the
            true number where the decoder gives fewer frames than the file has packets.
        start, end: the window in seconds from the first frame; ``end`` -1 means all of it.

    Frames that change size in mid-stream are scaled to the size of the window's first.

    Raises:
        DecodeError: the file is missing, empty, no video, truncated or damaged where it matters.
    """
    path = os.fspath(path)
    window = (start, math.inf if end < 0 else end)
    total = _count_frames(path, window)
    while True:
        numbers = [_checked(number, total) for number in choose(total)]
        frames, seen = _decode_numbers(path, window, numbers)
        if frames is not None:
            return frames
        if seen == 0:
            raise DecodeError(f"{path}: none of its {total} packets gives a frame")
        # Packets that show nothing (MPEG-4 in AVI, hidden VP8 frames) were counted as frames.
        total = seen


def count_frames(path: str | os.PathLike[str], *, start: float = 0.0, end: float = -1.0) -> int:
    """The frames that the file holds between ``start`` and ``end``, from its packets.

    Containers' own counts are zero in WebM and wrong in AVI. A few files hold packets that show
    no frame: there this is an upper bound.

    Raises:
        DecodeError: as :func:`decode`.
    """
    return _count_frames(os.fspath(path), (start, math.inf if end < 0 else end))


def _count_frames(path: str, window: tuple[float, float]) -> int:
    with _opened(path) as (container, stream):
        declared = stream.frames if "mp4" in container.format.name else 0
        found = shown = 0
        low, high = _ticks(stream, window)
        for packet in _packets(container, stream, window):
            if packet.dts is not None and packet.dts >= high:
                break
            if packet.size == 0:
                continue
            found += 1
            time = packet.dts if packet.pts is None else packet.pts
            if not packet.is_discard and (time is None or low <= time < high):
                shown += 1
        # The sample table of MP4 and MOV tells, before any frame is decoded, that data is missing.
        if window == (0.0, math.inf) and found < declared:
            raise DecodeError(f"{path}: truncated, {found} of {declared} frames are there")
    if shown == 0:
        inside = "" if window == (0.0, math.inf) else f" from {window[0]} s to {window[1]} s"
        raise DecodeError(f"{path}: no video frames{inside}")
    return shown


def _decode_numbers(
    path: str, window: tuple[float, float], numbers: list[int]
) -> tuple[Tensor | None, int]:
    """The frames with these numbers, or None and how many frames there are in truth."""
    slots: dict[int, list[int]] = {}
    for slot, number in enumerate(numbers):
        slots.setdefault(number, []).append(slot)
    out = np.empty((0, 0, 0, 3), np.uint8)
    width = height = seen = 0
    with _opened(path) as (container, stream):
        low, high = _ticks(stream, window)
        for frame in _frames(container, stream, window):
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


def _upright_rgb(frame: "av.VideoFrame", width: int, height: int) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24", width=width, height=height)
    # FFmpeg's display angle and np.rot90 both count anticlockwise.
    return np.rot90(image, round(frame.rotation / 90))


@contextmanager
def _opened(path: str) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """The container and its video stream; FFmpeg's errors come out as DecodeError."""
    import av

    # Absolute, so that no file name can be read as a protocol ("concat:", "http:").
    absolute = os.path.abspath(path)
    if not os.path.isfile(absolute):
        raise DecodeError(f"{path}: {'not a file' if os.path.exists(absolute) else 'no such file'}")
    if os.path.getsize(absolute) == 0:
        raise DecodeError(f"{path}: the file is empty (0 bytes)")
    try:
        # A playlist in disguise must not reach for the network.
        with av.open(
            absolute, metadata_errors="ignore", options={"protocol_whitelist": "file"}
        ) as container:
            stream = _video_stream(path, container)
            # One process per core decodes better than many threads per process.
            stream.codec_context.thread_count = 1
            stream.thread_type = "NONE"
            stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
            yield container, stream
    except DecodeError:
        raise
    # IndexError: what PyAV makes of a packet for a stream that no header announced.
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise DecodeError(f"{path}: {_reason(error)}") from error


def _video_stream(path: str, container: "InputContainer") -> "VideoStream":
    import av

    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not videos:
        kinds = sorted({stream.type for stream in container.streams})
        only = f", only {', '.join(kinds)}" if kinds else ""
        raise DecodeError(f"{path}: no video stream{only}")
    if videos[0].codec_context is None:
        raise DecodeError(f"{path}: no decoder for its video codec")
    return videos[0]


def _ticks(stream: "VideoStream", window: tuple[float, float]) -> tuple[float, float]:
    """The window in the stream's own time stamps, the whole video as everything."""
    if window == (0.0, math.inf):
        return -math.inf, math.inf
    origin = stream.start_time or 0
    base = float(stream.time_base or 1)
    # A millisecond: a time written with few digits includes the frame that it names.
    return origin + (window[0] - 1e-3) / base, origin + (window[1] - 1e-3) / base


def _packets(
    container: "InputContainer", stream: "VideoStream", window: tuple[float, float]
) -> Iterator["av.Packet"]:
    """Packets from a key frame at or before the window to the file's end."""
    if window[0] < _SEEK_FROM_SECONDS or not stream.time_base:
        return container.demux(stream)
    origin = stream.start_time or 0
    # Containers seek by decoding time, which runs ahead of display time: hence the second.
    container.seek(origin + int((window[0] - 1) / stream.time_base), stream=stream)
    packets = container.demux(stream)
    first = next(packets)
    if first.pts is not None and first.pts <= _ticks(stream, window)[0]:
        return itertools.chain([first], packets)
    container.seek(origin, stream=stream)
    return container.demux(stream)


def _frames(
    container: "InputContainer", stream: "VideoStream", window: tuple[float, float]
) -> Iterator["av.VideoFrame"]:
    high = _ticks(stream, window)[1]
    for packet in _packets(container, stream, window):
        if packet.dts is not None and packet.dts >= high:
            yield from stream.codec_context.decode(None)
            return
        yield from packet.decode()


def _checked(number: int, total: int) -> int:
    if not -total <= number < total:
        raise ValueError(f"frame {number} was chosen, the video has {total}")
    return int(number) % total


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "cannot be decoded (a packet belongs to no known stream)"
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return f"cannot be decoded ({text or type(error).__name__})"
