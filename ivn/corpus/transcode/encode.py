"""A clip decoded and encoded again in one pass, with its own time stamps."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ivn.corpus.transcode.encoding import Encoding, add_stream, even_size, is_rgb, matrix_of
from ivn.errors import DecodeError, one_line
from ivn.media.container import window_of
from ivn.media.decode import count_frames
from ivn.media.demux.reading import frames_of, opened_again, read_window
from ivn.media.orientation import Orientation, orientation_of
from ivn.media.source import Source
from ivn.media.storage import name_of

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_NONE, _BICUBIC = 0, "BICUBIC"


@dataclass
class Put:
    """The encoder's input, to compare the file with.

    Attributes:
        width, height: sides of the frames, in pixels.
        time_base: seconds a tick.
        ticks: tick at which each frame appears, from 0 on.
        end: tick at which the last frame disappears.
        of: number of frames that the clip was made of, dropped ones included.
        digests: digest of each frame's pixels, if the file must hold them exactly.
    """

    width: int = 0
    height: int = 0
    time_base: Fraction = Fraction(1)
    ticks: list[int] = field(default_factory=list)
    end: int = 0
    of: int = 0
    digests: list[bytes] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return float(self.end * self.time_base)


def encode(source: Source, path: str, encoding: Encoding, *, frames: int) -> Put:
    """Writes the clip of ``source`` to an MP4 at ``path``, without sound, from time 0 on.

    Frames are turned as players would turn them, resized, and appear when they did; those that
    change size in mid-stream get the size of the first.

    Args:
        source: the video and its window.
        path: absolute path of the file, which is overwritten.
        encoding: encoding of the clip.
        frames: number of frames to keep, evenly spread; all if there are fewer; 0 keeps all.

    Raises:
        DecodeError: the video cannot be used.
        OSError: the file cannot be written.
    """
    total = count_frames(source)
    while True:
        wanted = chosen(total, frames)
        put = _encode(source, path, encoding, wanted)
        if not frames or put.of == total:
            return put
        # Packets that show nothing were counted as frames.
        total = put.of


def chosen(total: int, frames: int) -> range | list[int]:
    """Returns the numbers of the kept frames: the first of each of ``frames`` equal segments.

    Inference then takes the same middle frames from an even number of kept ones as from all.
    """
    if not frames or frames >= total:
        # There may be more frames than packets promise.
        return range(2**62)
    return [segment * total // frames for segment in range(frames)]


@dataclass(frozen=True)
class _Decoded:
    """A frame, the tick at which it appears, and how its stream counts time."""

    frame: "VideoFrame"
    tick: int
    length: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction


def _encode(source: Source, path: str, encoding: Encoding, wanted: range | list[int]) -> Put:
    put = Put()
    held: _Decoded | None = None
    keep, numbers = iter(wanted), 0
    following = next(keep, -1)
    shape: _Shape | None = None
    track: _Track | None = None
    # A generator of its own, so that an error in reading is not taken for one in writing.
    decoded = _frames(source)
    with writing(path) as container:
        for one in decoded:
            number, numbers = numbers, numbers + 1
            put.end = one.tick + one.length
            if number != following:
                continue
            following = next(keep, -1)
            if shape is None or track is None:
                shape = _Shape(one.frame, encoding, name_of(source))
                put.width, put.height = shape.size
                put.time_base = one.time_base
                turned = orientation_of(one.frame).on_its_side and one.aspect
                stream = add_stream(
                    container,
                    encoding,
                    shape.size,
                    time_base=one.time_base,
                    rate=one.rate,
                    aspect=1 / one.aspect if turned else one.aspect,
                    matrix=shape.matrix,
                )
                track = _Track(container, stream, shape.name)
            if held is not None:
                _put(track, shape, held, one.tick, put)
            held = one
        put.of = numbers
        if held is None or track is None or shape is None:
            raise DecodeError(f"{name_of(source)}: no packet gives a frame")
        _put(track, shape, held, put.end, put)
        track.close(put.end)
    return put


def _put(track: "_Track", shape: "_Shape", one: _Decoded, until: int, put: Put) -> None:
    """Encodes a frame that is shown until a tick."""
    frame = shape.of(one.frame)
    frame.pts, frame.time_base, frame.duration = one.tick, one.time_base, until - one.tick
    # The encoder would take over which frames were key frames.
    frame.pict_type = _NONE
    put.ticks.append(one.tick)
    if shape.encoding.lossless:
        put.digests.append(digest(frame))
    track.put(frame)


class _Track:
    """The encoder and the file, with the last packet held back.

    An MP4 gives as its length the lesser of two: the end of its last frame, for which encoders do
    not give their packets the right lengths, and the sum of lengths in the order of decoding, which
    the last packet corrects if frames are reordered and times between them vary.
    """

    def __init__(self, container: "OutputContainer", stream: "VideoStream", name: str) -> None:
        self.container, self.stream, self.name = container, stream, name
        self._held: Packet | None = None
        self._first = 0
        self._lengths: dict[int, int] = {}

    def put(self, frame: "VideoFrame | None") -> None:
        """Encodes a frame; None flushes the encoder.

        Raises:
            DecodeError: the encoder does not take it.
            OSError: the file cannot be written.
        """
        import av

        if frame is not None and frame.pts is not None:
            self._lengths[frame.pts] = frame.duration
        try:
            packets = self.stream.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise DecodeError(f"{self.name}: cannot be encoded ({_reason(error)})") from error
        for packet in packets:
            if self._held is None:
                self._first = packet.dts or 0
            self._mux()
            packet.duration = self._lengths.pop(packet.pts or 0, packet.duration)
            self._held = packet

    def close(self, end: int) -> None:
        """Writes the rest of a clip that ends at a tick."""
        self.put(None)
        if self._held is not None:
            length = end - ((self._held.dts or 0) - self._first)
            self._held.duration = max(self._held.duration or 1, length)
        self._mux()

    def _mux(self) -> None:
        import av

        if self._held is None:
            return
        try:
            self.container.mux(self._held)
        except (av.FFmpegError, OSError) as error:
            raise _write_error(self.container.name, error) from error


@contextmanager
def writing(path: str) -> Iterator["OutputContainer"]:
    """Gives an MP4 with its table first; it is closed whatever happens."""
    import av

    try:
        container = av.open(path, "w", format="mp4", options={"movflags": "faststart"})
    except (av.FFmpegError, OSError) as error:
        raise _write_error(path, error) from error
    try:
        yield container
    except BaseException:
        with suppress(av.FFmpegError, OSError):
            container.close()
        raise
    try:
        container.close()
    except (av.FFmpegError, OSError) as error:
        raise _write_error(path, error) from error


class _Shape:
    """The change of each frame: upright, resized, its colours in the encoder's format."""

    def __init__(self, first: "VideoFrame", encoding: Encoding, name: str) -> None:
        self.encoding, self.name = encoding, name
        width, height = first.width, first.height
        if orientation_of(first).on_its_side:
            width, height = height, width
        self.shown = width, height
        try:
            self.size = even_size(width, height, encoding.short)
        except ValueError as error:
            raise DecodeError(f"{name}: {error}") from error
        resized = 0 < encoding.short < min(width, height)
        self.odd = not resized and self.size != self.shown
        self.swscale, self.matrix = matrix_of(first)

    def of(self, frame: "VideoFrame") -> "VideoFrame":
        """Returns the frame as it is encoded; one that needs no change is not copied."""
        import av

        orientation = orientation_of(frame)
        if orientation == Orientation() and not self.odd:
            return self._scaled(frame, self.size)
        stored, whole = self.size, self.shown
        if orientation.on_its_side:
            stored, whole = stored[::-1], whole[::-1]
        # A line that makes a side odd is cut off; squeezing it in would blur all the others.
        if self.odd and is_rgb(frame):
            # Before its colours get half the size, which would not be half of an odd one.
            image = frame.reformat(*whole, "rgb24", threads=1).to_ndarray()
            cut = np.ascontiguousarray(image[: stored[1], : stored[0]], np.uint8)
            frame = av.VideoFrame.from_ndarray(cut, format="rgb24")
            scaled = self._scaled(frame, stored)
        else:
            scaled = self._scaled(frame, whole if self.odd else stored)
        planes = []
        for number, plane in enumerate(scaled.planes):
            width, height = stored if number == 0 else (stored[0] // 2, stored[1] // 2)
            data = np.frombuffer(memoryview(plane), np.uint8)
            lines = data.reshape(plane.height, plane.line_size)
            planes.append(orientation.upright(lines[:height, :width]).ravel())
        flat = np.concatenate(planes).reshape(-1, self.size[0])
        turned = av.VideoFrame.from_ndarray(flat, format=self.encoding.pixel_format)
        turned.color_range, turned.colorspace = self.encoding.colour_range, self.matrix
        return turned

    def _scaled(self, frame: "VideoFrame", size: tuple[int, int]) -> "VideoFrame":
        return frame.reformat(
            *size,
            self.encoding.pixel_format,
            dst_colorspace=self.swscale,
            dst_color_range=self.encoding.colour_range,
            interpolation=_BICUBIC,
            threads=1,
        )


def digest(frame: "VideoFrame") -> bytes:
    """Returns a digest of a frame's pixels, whatever lies between its lines."""
    return hashlib.sha256(frame.to_ndarray().tobytes()).digest()


def _frames(source: Source) -> Iterator[_Decoded]:
    """Yields the frames of the source's window, with ascending ticks from 0 on."""
    window = window_of(source)
    with read_window(source, times=True) as read:
        aspect = read.stream.sample_aspect_ratio or Fraction(1)
    clock = read.clock
    with opened_again(source, read) as (stream, packets):
        _, high = clock.span(window)
        origin: int | None = None
        for frame, tick in clock.ticks(frames_of(stream, packets, high)):
            seconds = clock.seconds(tick)
            if not window.holds(seconds):
                if seconds >= window.end:
                    break
                continue
            origin = tick if origin is None else origin
            length = frame.duration if clock.trusted else 0
            yield _Decoded(
                frame, tick - origin, length or clock.step, clock.base, clock.rate, aspect
            )


def _write_error(path: str, error: Exception) -> OSError:
    return OSError(getattr(error, "errno", None), _reason(error), path)


def _reason(error: Exception) -> str:
    text = one_line(getattr(error, "strerror", None) or error)
    return text[:1].lower() + text[1:]
