"""Opens a video file: its video stream, and the packets of a window of time."""

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
from ivn.media.storage import check_file, name_of, read_bytes, version_of

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Seconds by which seeking goes back further than the wanted time stamp.
_SEEK_MARGIN = 1

# Formats with an index of key frames, by which FFmpeg seeks.
_INDEXED = ("mp4", "matroska", "avi")

# Seconds per tick of MPEG's transport and program streams.
_MPEG_TICK = Fraction(1, 90000)

# A smaller step back in decoding time is a muxer's rounding.
_JUMP_SECONDS = 1.0

# AVFMT_FLAG_GENPTS of libavformat, which PyAV sets: missing display times are guessed.
_GENERATE_PTS = 0x0001

# Codecs for which FFmpeg's guess of a missing display time is wrong.
_WRONG_GUESSES = ("h264", "hevc", "vvc")

# Twice 8K: a damaged header can ask for frames of gigabytes.
_MAX_PIXELS = 2**26

# Bytes that a demuxer reads at a time: each read costs a call into Python.
_BUFFER = 2**18

# Bytes of packets among which a stream that has data must have a packet; FFmpeg's probesize.
_PROBED_BYTES = 5_000_000

# FFmpeg decodes animated WebP from its version 9 on.
_ANIMATED = "an animated WebP, which is not read: convert it to GIF, APNG or a video"

__all__ = [
    "DecodeError",
    "PacketStream",
    "TimeWindow",
    "begin_near",
    "check_all_there",
    "is_edited",
    "is_indexed",
    "opened",
    "read_bytes",
]


@dataclass(frozen=True)
class TimeWindow:
    """A span of seconds from the first frame that is shown; by default the whole video."""

    start: float = 0.0
    end: float = math.inf

    def holds(self, seconds: float) -> bool:
        """Returns whether a frame that appears at ``seconds`` is inside."""
        # One millisecond early: a time that was rounded still includes the frame that it names.
        return self == TimeWindow() or self.start - 1e-3 <= seconds < self.end - 1e-3


class PacketStream:
    """The packets with data in decoding order, with time stamps that never jump back.

    Where recordings were joined, the file's decoding time jumps back: the next packet is then moved
    to one frame after the packets before it.

    Attributes:
        restarts: number of jumps so far.
    """

    def __init__(
        self, container: "InputContainer", stream: "VideoStream", packets: "Iterator[Packet]"
    ) -> None:
        base = float(stream.time_base or 1)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        self.restarts = 0
        # The samples of an MP4 have durations, not times: only what edit lists hide goes back
        # there.
        self._frame = max(1, round(1 / (rate * base)))
        self._jump = math.inf if _is_mp4(container) else _JUMP_SECONDS / base
        # FFmpeg takes a jump back by more than a minute for an overflow of the 33-bit clock.
        self._wrap = 2**32 if stream.time_base == _MPEG_TICK else math.inf
        self._packets = self._continuous(packets)

    def __iter__(self) -> "PacketStream":
        return self

    def __next__(self) -> "Packet":
        return next(self._packets)

    def give_back(self, packets: "list[Packet]") -> None:
        """Puts packets back at the front of the stream."""
        self._packets = itertools.chain(packets, self._packets)

    def skip_to(self, stamp: float) -> None:
        """Skips packets before the last key frame at or before ``stamp``."""
        self._packets = _from_key_frame(self._packets, stamp)

    def _continuous(self, packets: "Iterator[Packet]") -> "Iterator[Packet]":
        """Yields the packets with data, their time stamps shifted behind each jump."""
        decoded = shown = -math.inf
        shift = 0
        for packet in packets:
            if packet.size == 0:
                continue
            step = 0 if packet.dts is None else packet.dts + shift - decoded
            if step < -self._jump or (step > self._wrap and decoded > -math.inf):
                self.restarts += 1
                shift = round(decoded) + self._frame - (packet.dts or 0)
                if packet.pts is not None:
                    shift = max(shift, round(shown) + self._frame - packet.pts)
            if shift:
                packet.dts = None if packet.dts is None else packet.dts + shift
                packet.pts = None if packet.pts is None else packet.pts + shift
            decoded = decoded if packet.dts is None else packet.dts
            time = packet.dts if packet.pts is None else packet.pts
            shown = max(shown, -math.inf if time is None else time)
            yield packet


@contextmanager
def opened(
    video: Source | str | os.PathLike[str], *, content: bytes = b""
) -> Iterator[tuple["InputContainer", "VideoStream", "PacketStream"]]:
    """Opens the container, its video stream, and the stream of all its packets.

    A file is read while it is demuxed. A member of a tar is read whole and demuxed from memory, and
    so is ``content``, the bytes of a file that was read before.

    Raises:
        DecodeError: The file cannot be opened; FFmpeg has an error inside the ``with`` block; or
            the file was replaced, cut off or written to before its end.
    """
    import av

    source = video if isinstance(video, Source) else Source(os.fspath(video))
    name = name_of(source)
    check_file(name, source.path)
    # Absolute, so that no file name can be read as a protocol ("concat:", "http:").
    path = os.path.abspath(source.path)
    data = content or (read_bytes(source) if source.member else b"")
    container = None
    try:
        before = None if data else version_of(os.stat(path))
        container, stream = _open(name, data or path)
        yield container, stream, PacketStream(container, stream, container.demux(stream))
        if before is not None and version_of(os.stat(path)) != before:
            raise DecodeError(f"{name}: the file changed while it was read")
    except DecodeError:
        raise
    # PyAV raises IndexError for a packet of a stream that no header announced.
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        animated = isinstance(error, av.InvalidDataError) and _is_animated_webp(data or path)
        reason = _ANIMATED if animated else stand_in(data) or stand_in_at(path)
        raise DecodeError(f"{name}: {reason or _reason(error)}") from error
    finally:
        if container is not None:
            container.close()


def _open(name: str, content: bytes | str) -> tuple["InputContainer", "VideoStream"]:
    """Opens a demuxer of bytes, or of the file at a path, and chooses the video stream."""
    container = _container(content)
    try:
        stream = _video_stream(name, container)
        if len(video_streams(container)) > 1:
            # The choice has read packets: they have to come again.
            index = stream.index
            container.close()
            container = _container(content)
            stream = next(video for video in container.streams.video if video.index == index)
    except BaseException:
        container.close()
        raise
    # FFmpeg would guess the time of the next packet, whatever the order of display.
    if stream.codec_context.codec.canonical_name in _WRONG_GUESSES:
        container.flags &= ~_GENERATE_PTS
    # One process per core decodes better than many threads per process.
    stream.codec_context.thread_count = 1
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    return container, stream


def _container(content: bytes | str) -> "InputContainer":
    import av

    # A playlist under a video's name must not open addresses of the network, nor may a member open
    # a file; a name with a % is one file, not a numbered series of images.
    allowed = "none" if isinstance(content, bytes) else "file"
    options = {"protocol_whitelist": allowed, "pattern_type": "none"}
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    return av.open(file, mode="r", metadata_errors="ignore", options=options, buffer_size=_BUFFER)


def video_streams(container: "InputContainer") -> "list[VideoStream]":
    """Returns the streams that may be the video: all but cover pictures."""
    import av

    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _video_stream(name: str, container: "InputContainer") -> "VideoStream":
    """Returns the stream that the ffmpeg command chooses, among those that can be decoded.

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
    filled = _streams_with_data(container, videos)
    # The first of several equals.
    return max(videos, key=lambda stream: (stream.index in filled, _score(stream)))


def _score(stream: "VideoStream") -> int:
    """Returns the pixels of a frame, and five million more for the stream marked as default.

    It is the rule of map_auto_video in FFmpeg's fftools.
    """
    import av

    is_default = bool(stream.disposition & av.stream.Disposition.default)
    return stream.width * stream.height + 5_000_000 * is_default


def _streams_with_data(container: "InputContainer", videos: "list[VideoStream]") -> set[int]:
    """Returns the index of each stream that has a packet in the first bytes of the file."""
    import av

    indices: set[int] = set()
    size = 0
    # Damage is reported when frames are decoded from it.
    with suppress(av.FFmpegError):
        for packet in container.demux(videos):
            size += packet.size
            if packet.size:
                indices.add(packet.stream.index)
            if len(indices) == len(videos) or size > _PROBED_BYTES:
                break
    return indices


def _is_mp4(container: "InputContainer") -> bool:
    return "mp4" in container.format.name


def is_indexed(container: "InputContainer") -> bool:
    """Returns whether the container has an index of its key frames."""
    return any(name in container.format.name for name in _INDEXED)


def is_edited(container: "InputContainer", stream: "VideoStream") -> bool:
    """Returns whether an edit list hides samples, or shows some of them several times."""
    return _is_mp4(container) and stream.frames not in (0, len(stream.index_entries))


def begin_near(
    container: "InputContainer", stream: "VideoStream", packets: PacketStream, near: float
) -> PacketStream | None:
    """Returns the packets from a key frame a second or more before a time stamp, or from the first.

    Args:
        container, stream, packets: open file, as from :func:`opened`.
        near: time stamp in the stream's ticks.

    Returns:
        None where seeking cannot reach such a key frame: the file must be opened anew.
    """
    # Seeking is by decoding time, which is earlier than display time: hence the margin.
    wanted = near - float(_SEEK_MARGIN / (stream.time_base or 1))
    if not is_indexed(container):
        # FFmpeg would search for the time, which occurs twice where the clock jumps back.
        packets.skip_to(wanted)
        return packets
    if is_edited(container, stream):
        return None
    container.seek(int(wanted), stream=stream)
    if "matroska" in container.format.name:
        offsets = [entry.pos for entry in stream.index_entries]
        if offsets != sorted(offsets):
            return None  # the clock jumps back
    remaining = container.demux(stream)
    first = next(remaining)
    early = first.pts is not None and first.pts <= near
    if not early or not first.is_keyframe:
        return None
    return PacketStream(container, stream, itertools.chain([first], remaining))


def _from_key_frame(packets: "Iterator[Packet]", stamp: float) -> "Iterator[Packet]":
    """Yields the packets from the last key frame at or before ``stamp`` on."""
    kept: list[Packet] = []
    for packet in packets:
        time = packet.dts if packet.pts is None else packet.pts
        if packet.is_keyframe and time is not None and time <= stamp:
            kept.clear()
        kept.append(packet)
        if packet.dts is None or packet.dts > stamp:
            break
    yield from kept
    yield from packets


def check_all_there(
    name: str, container: "InputContainer", stream: "VideoStream", count: int
) -> None:
    """Raises DecodeError where an MP4 or MOV has fewer packets than its index lists.

    The index is the sample table as the edit list shows it. Samples of no bytes give no packet.

    Args:
        name: name of the video in the message.
        container, stream: open file, as from :func:`opened`.
        count: number of packets with data up to the end of the file.
    """
    if not _is_mp4(container) or count >= stream.frames:
        return
    listed = sum(entry.size > 0 for entry in stream.index_entries)
    if count < listed:
        raise DecodeError(f"{name}: truncated, {count} of {listed} frames are there")


def _is_animated_webp(content: bytes | str) -> bool:
    """Returns the animation flag in the header of the first chunk (RFC 9649, 2.7)."""
    with open(content, "rb") if isinstance(content, str) else io.BytesIO(content) as file:
        start = file.read(21)
    is_extended = len(start) == 21 and start.startswith(b"RIFF") and start[8:16] == b"WEBPVP8X"
    return is_extended and bool(start[20] & 2)


def _reason(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "cannot be decoded (a packet belongs to no known stream)"
    return f"cannot be decoded ({one_line(getattr(error, 'strerror', None) or error)})"


def window_of(source: Source) -> TimeWindow:
    """Returns the window of time of a source."""
    return TimeWindow(source.start, math.inf if source.end < 0 else source.end)
