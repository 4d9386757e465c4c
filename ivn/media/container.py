"""An open video: its video stream, and the packets of a window of time."""

import io
import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ivn.errors import DecodeError, one_line
from ivn.media.source import Source
from ivn.media.stand_in import stand_in, stand_in_at
from ivn.media.storage import check_file, named, read_bytes, version_of

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Seconds before a time stamp at which packets begin.
_AHEAD = 1

# Containers that are sought in by an index that tells the place of each key frame.
_INDEXED = ("mp4", "matroska", "avi")

# Seconds a tick of MPEG's transport and program streams.
_MPEG_TICK = Fraction(1, 90000)

# Decoding time that goes back by less is a muxer's rounding.
_JUMP_SECONDS = 1.0

# AVFMT_FLAG_GENPTS of libavformat, which PyAV sets.
_GUESSED_STAMPS = 0x0001

# Codecs whose packets FFmpeg cannot give a display time that the file lacks.
_WITHOUT_GUESSES = ("h264", "hevc", "vvc")

# Twice 8K. A damaged header can ask for frames of gigabytes.
_MAX_PIXELS = 2**26

# Bytes that a demuxer takes at a time: each time costs a call into Python.
_BUFFER = 2**18

# Bytes of packets by which it must have shown whether a stream has any; what FFmpeg looks at.
_LOOKED_AT = 5_000_000

# FFmpeg decodes none before its version 9.
_ANIMATED = "an animated WebP, which is not read: convert it to GIF, APNG or a video"

__all__ = [
    "DecodeError",
    "Demuxed",
    "Window",
    "begin_near",
    "check_all_there",
    "is_edited",
    "is_indexed",
    "opened",
    "read_bytes",
]


@dataclass(frozen=True)
class Window:
    """Seconds from the first frame that is shown; the whole of the video by default."""

    start: float = 0.0
    end: float = math.inf

    def holds(self, seconds: float) -> bool:
        """Whether a frame that appears then is inside."""
        # A millisecond: a time written with few digits includes the frame that it names.
        return self == Window() or self.start - 1e-3 <= seconds < self.end - 1e-3


class Demuxed:
    """Packets with data in the order of decoding; their clock goes on where the file's jumps back.

    Where recordings were joined, decoding time jumps back: then what follows appears one frame
    after what came before.

    Attributes:
        restarts: how often the clock jumped back so far.
    """

    def __init__(
        self, container: "InputContainer", stream: "VideoStream", packets: "Iterator[Packet]"
    ) -> None:
        base = float(stream.time_base or 1)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        self.restarts = 0
        # The samples of an MP4 have lengths, not times: what goes back there is what edits hide.
        self._frame = max(1, round(1 / (rate * base)))
        self._jump = math.inf if _is_mp4(container) else _JUMP_SECONDS / base
        # A clock of 33 bits is taken to have run over where it jumps back by more than a minute.
        self._wrap = 2**32 if stream.time_base == _MPEG_TICK else math.inf
        self._packets = self._going_on(packets)

    def __iter__(self) -> "Demuxed":
        return self

    def __next__(self) -> "Packet":
        return next(self._packets)

    def give_back(self, packets: "list[Packet]") -> None:
        """Have packets that were taken come again."""
        self._packets = itertools.chain(packets, self._packets)

    def leave_out(self, ahead: float) -> None:
        """Begin at the last key frame before a time stamp."""
        self._packets = _from_key_frame(self._packets, ahead)

    def _going_on(self, packets: "Iterator[Packet]") -> "Iterator[Packet]":
        decoded = shown = -math.inf
        later = 0
        for packet in packets:
            if packet.size == 0:
                continue
            step = 0 if packet.dts is None else packet.dts + later - decoded
            if step < -self._jump or (step > self._wrap and decoded > -math.inf):
                self.restarts += 1
                later = round(decoded) + self._frame - (packet.dts or 0)
                if packet.pts is not None:
                    later = max(later, round(shown) + self._frame - packet.pts)
            if later:
                packet.dts = None if packet.dts is None else packet.dts + later
                packet.pts = None if packet.pts is None else packet.pts + later
            decoded = decoded if packet.dts is None else packet.dts
            time = packet.dts if packet.pts is None else packet.pts
            shown = max(shown, -math.inf if time is None else time)
            yield packet


@contextmanager
def opened(
    video: Source | str | os.PathLike[str], *, content: bytes = b""
) -> Iterator[tuple["InputContainer", "VideoStream", "Demuxed"]]:
    """The container, its video stream, and all its packets.

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
        yield container, stream, Demuxed(container, stream, container.demux(stream))
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
    # Of these the time of the packet after it would be taken, whatever is shown when.
    if stream.codec_context.codec.canonical_name in _WITHOUT_GUESSES:
        container.flags &= ~_GUESSED_STAMPS
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


def _is_mp4(container: "InputContainer") -> bool:
    return "mp4" in container.format.name


def is_indexed(container: "InputContainer") -> bool:
    """Whether an index tells where key frames are."""
    return any(name in container.format.name for name in _INDEXED)


def is_edited(container: "InputContainer", stream: "VideoStream") -> bool:
    """Whether an edit list leaves samples out, or has them in several places."""
    return _is_mp4(container) and stream.frames not in (0, len(stream.index_entries))


def begin_near(
    container: "InputContainer", stream: "VideoStream", packets: Demuxed, near: float
) -> Demuxed | None:
    """Packets from a key frame a second or more before a time stamp on, or from the first one.

    Args:
        container, stream, packets: the file as :func:`opened` gives it.
        near: the time stamp, in the stream's ticks.

    Returns:
        None where seeking cannot reach one: the file must be opened anew.
    """
    # Containers seek by decoding time, which runs ahead of display time: hence the second.
    ahead = near - float(_AHEAD / (stream.time_base or 1))
    if not is_indexed(container):
        # A time is searched for, and a clock that begins anew has it twice.
        packets.leave_out(ahead)
        return packets
    if is_edited(container, stream):
        return None
    container.seek(int(ahead), stream=stream)
    if "matroska" in container.format.name:
        places = [entry.pos for entry in stream.index_entries]
        if places != sorted(places):
            return None  # its clock begins anew
    found = container.demux(stream)
    first = next(found)
    early = first.pts is not None and first.pts <= near
    if not early or not first.is_keyframe:
        return None
    return Demuxed(container, stream, itertools.chain([first], found))


def _from_key_frame(packets: "Iterator[Packet]", ahead: float) -> "Iterator[Packet]":
    """The packets from the last key frame before a time stamp on."""
    kept: list[Packet] = []
    for packet in packets:
        time = packet.dts if packet.pts is None else packet.pts
        if packet.is_keyframe and time is not None and time <= ahead:
            kept.clear()
        kept.append(packet)
        if packet.dts is None or packet.dts > ahead:
            break
    yield from kept
    yield from packets


def check_all_there(
    name: str, container: "InputContainer", stream: "VideoStream", found: int
) -> None:
    """Raise DecodeError, which names the video, where packets of an MP4 or MOV are missing.

    Its index is the sample table as the edit list shows it; samples without a byte are not there
    to be found.

    Args:
        name: of the video.
        container, stream: the file as :func:`opened` gives it.
        found: packets with data that came until the end of the file.
    """
    if not _is_mp4(container) or found >= stream.frames:
        return
    listed = sum(entry.size > 0 for entry in stream.index_entries)
    if found < listed:
        raise DecodeError(f"{name}: truncated, {found} of {listed} frames are there")


def _is_animated_webp(content: bytes | str) -> bool:
    """By the header of its first chunk (RFC 9649, 2.7), whose second bit says so."""
    with open(content, "rb") if isinstance(content, str) else io.BytesIO(content) as file:
        start = file.read(21)
    known = len(start) == 21 and start.startswith(b"RIFF") and start[8:16] == b"WEBPVP8X"
    return known and bool(start[20] & 2)


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "cannot be decoded (a packet belongs to no known stream)"
    return f"cannot be decoded ({one_line(getattr(error, 'strerror', None) or error)})"


def window_of(source: Source) -> Window:
    """Its window in time."""
    return Window(source.start, math.inf if source.end < 0 else source.end)
