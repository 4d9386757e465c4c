"""An open video: its video stream, and the packets of a window of time."""

import io
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.data.contents import DecodeError, check_file, named, read_bytes, version_of
from ivn.data.source import Source
from ivn.data.stand_in import stand_in, stand_in_at

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Nearer to the start than this, a seek gains nothing.
_SEEK_FROM_SECONDS = 5.0

# Twice 8K. A damaged header can ask for frames of gigabytes.
_MAX_PIXELS = 2**26

# Bytes that a demuxer takes at a time: each time costs a call into Python.
_BUFFER = 2**18

# Bytes of packets by which it must have shown whether a stream has any; what FFmpeg looks at.
_LOOKED_AT = 5_000_000

# FFmpeg decodes none before its version 9.
_ANIMATED = "an animated WebP, which is not read: convert it to GIF, APNG or a video"

__all__ = ["DecodeError", "Window", "opened", "read_bytes"]


@dataclass(frozen=True)
class Window:
    """Seconds from the stream's start; the whole of it by default."""

    start: float = 0.0
    end: float = math.inf

    def ticks(self, stream: "VideoStream") -> tuple[float, float]:
        """First time stamp inside and first one after, in the stream's own units."""
        if self == Window():
            return -math.inf, math.inf
        origin = stream.start_time or 0
        base = float(stream.time_base or 1)
        # A millisecond: a time written with few digits includes the frame that it names.
        return origin + (self.start - 1e-3) / base, origin + (self.end - 1e-3) / base


@contextmanager
def opened(
    video: Source | str | os.PathLike[str], window: Window, *, content: bytes = b""
) -> Iterator[tuple["InputContainer", "VideoStream", "Iterator[Packet]"]]:
    """The container, its video stream, and packets from a key frame before the window to the end.

    A member of a tar is read whole and demuxed from memory; a file is read as it is demuxed, but
    where its bytes are given as ``content``.

    Raises:
        DecodeError: also for every error of FFmpeg inside the ``with`` block, and where the file
            was replaced, cut off or written to before its end.
    """
    import av

    source = video if isinstance(video, Source) else Source(os.fspath(video))
    name = named(source)
    check_file(name, source.path)
    # Absolute, so that no file name can be read as a protocol ("concat:", "http:").
    path = os.path.abspath(source.path)
    data = content or (read_bytes(source) if source.member else b"")
    container = None
    try:
        before = None if data else version_of(os.stat(path))
        container, stream = _open(name, data or path)
        packets = _seek(container, stream, window)
        if packets is None:
            container.close()
            container, stream = _open(name, data or path)
            packets = container.demux(stream)
        yield container, stream, packets
        if before is not None and version_of(os.stat(path)) != before:
            raise DecodeError(f"{name}: the file changed while it was read")
    except DecodeError:
        raise
    # IndexError: what PyAV makes of a packet for a stream that no header announced.
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        animated = isinstance(error, av.InvalidDataError) and _is_animated_webp(data or path)
        known = _ANIMATED if animated else stand_in(data) or stand_in_at(path)
        raise DecodeError(f"{name}: {known or _reason(error)}") from error
    finally:
        if container is not None:
            container.close()


def _open(name: str, content: bytes | str) -> tuple["InputContainer", "VideoStream"]:
    """A demuxer of bytes, or of the file at a path, and the stream that is the video."""
    container = _container(content)
    try:
        stream = _video_stream(name, container)
        if len(video_streams(container)) > 1:
            # Packets were read to tell which of them are empty.
            index = stream.index
            container.close()
            container = _container(content)
            stream = next(one for one in container.streams.video if one.index == index)
    except BaseException:
        container.close()
        raise
    # One process per core decodes better than many threads per process.
    stream.codec_context.thread_count = 1
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    return container, stream


def _container(content: bytes | str) -> "InputContainer":
    import av

    # A playlist in disguise must not reach for the network, nor a member for any file; a name
    # with a % is one file, not a numbered series of pictures.
    allowed = "none" if isinstance(content, bytes) else "file"
    options = {"protocol_whitelist": allowed, "pattern_type": "none"}
    place = io.BytesIO(content) if isinstance(content, bytes) else content
    return av.open(place, mode="r", metadata_errors="ignore", options=options, buffer_size=_BUFFER)


def video_streams(container: "InputContainer") -> "list[VideoStream]":
    """The streams that may be the video: all but pictures of covers."""
    import av

    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _video_stream(name: str, container: "InputContainer") -> "VideoStream":
    """The one that the ffmpeg command takes, among those that can be decoded.

    Where there are several, some packets are read from the container.
    """
    videos = video_streams(container)
    if not videos:
        others = [stream.type for stream in container.streams if stream.type != "video"]
        only = f", only {', '.join(sorted(set(others)))}" if others else ""
        raise DecodeError(f"{name}: no video stream{only}")
    videos = [stream for stream in videos if stream.codec_context is not None]
    if not videos:
        raise DecodeError(f"{name}: no decoder for its video codec")
    if len(videos) == 1:
        return videos[0]
    filled = _filled(container, videos)
    # Of equals the first.
    return max(videos, key=lambda stream: (stream.index in filled, _score(stream)))


def _score(stream: "VideoStream") -> int:
    """Pixels of a frame; to be marked as the default is worth five million (map_auto_video in
    FFmpeg's fftools)."""
    import av

    marked = bool(stream.disposition & av.stream.Disposition.default)
    return stream.width * stream.height + 5_000_000 * marked


def _filled(container: "InputContainer", videos: "list[VideoStream]") -> set[int]:
    """Which of the streams, by index, have a packet in the first bytes of the file."""
    import av

    found: set[int] = set()
    size = 0
    # What is damaged matters where frames are wanted of it, and is told then.
    with suppress(av.FFmpegError):
        for packet in container.demux(videos):
            size += packet.size
            if packet.size:
                found.add(packet.stream.index)
            if len(found) == len(videos) or size > _LOOKED_AT:
                break
    return found


def _seek(
    container: "InputContainer", stream: "VideoStream", window: Window
) -> "Iterator[Packet] | None":
    """Packets from a key frame before the window, or None where seeking cannot reach one."""
    if window.start < _SEEK_FROM_SECONDS or not stream.time_base:
        return container.demux(stream)
    # Containers seek by decoding time, which runs ahead of display time: hence the second.
    ahead = int((window.start - 1) / stream.time_base)
    container.seek((stream.start_time or 0) + ahead, stream=stream)
    packets = container.demux(stream)
    first = next(packets)
    early = first.pts is not None and first.pts <= window.ticks(stream)[0]
    return itertools.chain([first], packets) if early and first.is_keyframe else None


def _is_animated_webp(content: bytes | str) -> bool:
    """By the header of its first chunk (RFC 9649, 2.7), whose second bit says so."""
    with open(content, "rb") if isinstance(content, str) else io.BytesIO(content) as file:
        start = file.read(21)
    known = len(start) == 21 and start.startswith(b"RIFF") and start[8:16] == b"WEBPVP8X"
    return known and bool(start[20] & 2)


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "cannot be decoded (a packet belongs to no known stream)"
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return f"cannot be decoded ({text or type(error).__name__})"
