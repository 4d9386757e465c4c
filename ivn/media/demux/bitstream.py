"""Reads from a packet's header whether decoding can begin at it, and whether it is a reference.

The headers are those of the units (NAL) in a packet of H.264 (ITU-T H.264, 7.3.1 and table 7-1) and
H.265 (ITU-T H.265, 7.3.1.2 and table 7-1), and those of VP8's and VP9's frames. Nothing is decoded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_START = b"\0\0\1"
_DISPLAY_ORIENTATION = 47  # the message's number in both standards


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """The role of the picture in a packet.

    Attributes:
        entry_point: whether decoding can begin here; frames that are shown later need nothing
            before.
        disposable: whether no picture of the same or a lower temporal ``layer`` refers to it.
        layer: temporal layer; 0 but for H.265, where higher layers may refer to disposable pictures
            of lower ones.
        parameter_sets: bytes of the parameter sets in the packet.
        splice: whether the packet shows nothing (VP8, VP9), or decoders may drop pictures around
            it, as where two streams of H.265 were joined: only decoding tells how many frames there
            are.
        rotated: whether a message (SEI) says how the picture is to be turned and mirrored.
    """

    entry_point: bool
    disposable: bool
    layer: int = 0
    parameter_sets: tuple[bytes, ...] = ()
    splice: bool = False
    rotated: bool = False


ReadPicture = Callable[[bytes], CodedPicture]


def picture_reader(stream: "VideoStream") -> ReadPicture | None:
    """Returns a function from a packet's bytes to its role; None where headers do not tell it."""
    context = stream.codec_context
    if context.codec.intra_only:
        return lambda _: CodedPicture(entry_point=True, disposable=True)
    extra = context.extradata or b""
    name = context.codec.canonical_name
    if name == "h264":
        # The configuration record (ISO/IEC 14496-15) begins with 1, start codes with 0.
        length = (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
        return lambda data: _h264(data, length)
    if name == "hevc":
        length = (extra[21] & 3) + 1 if len(extra) > 21 and extra[0] == 1 else 0
        return lambda data: _h265(data, length)
    if name == "vp8":  # RFC 6386, 9.1: key_frame, which is 0 for a key frame, and show_frame
        return lambda data: CodedPicture(not data[0] & 1, False, splice=not data[0] & 0x10)
    return _vp9 if name == "vp9" else None


def _vp9(data: bytes) -> CodedPicture:
    """Reads show_existing_frame, frame_type and show_frame (VP9 bitstream specification, 6.2).

    A packet may hold several frames, of which the last is shown (annex B).
    """
    profile = data[0] >> 5 & 1 | data[0] >> 3 & 2
    flags = data[0] >> (profile < 3)
    shown = flags & 0x05 or data[-1] & 0xE0 == 0xC0
    return CodedPicture(entry_point=not flags & 0x06, disposable=False, splice=not shown)


def _h264(data: bytes, length: int) -> CodedPicture:
    slices = inter = references = rotations = 0
    parameter_sets = []
    for start, stop in units_of(data, length):
        kind = data[start] & 31
        if kind in (1, 2, 5):
            slices += 1
            inter += kind != 5
            references += bool(data[start] & 0x60)
        elif kind == 6:
            rotations += _DISPLAY_ORIENTATION in _messages(data[start + 1 : stop])
        elif kind in (7, 8, 13, 15):
            parameter_sets.append(data[start:stop])
    entry_point, disposable = slices > 0 and not inter, slices > 0 and not references
    return CodedPicture(entry_point, disposable, 0, tuple(parameter_sets), rotated=rotations > 0)


def _h265(data: bytes, length: int) -> CodedPicture:
    slices = entry_points = disposable = layer = splices = rotations = 0
    parameter_sets = []
    for start, stop in units_of(data, length):
        kind = data[start] >> 1 & 63
        if kind < 32:
            slices += 1
            entry_points += 16 <= kind <= 21
            # Not FFmpeg's skip_frame, which skips pictures that higher layers refer to.
            # Even numbers below 16: pictures that their own layer does not refer to.
            disposable += kind < 16 and kind % 2 == 0
            layer = max(layer, (data[start + 1] & 7) - 1 if start + 1 < stop else 0)
        elif kind in (32, 33, 34):
            parameter_sets.append(data[start:stop])
        elif kind in (39, 40):
            rotations += _DISPLAY_ORIENTATION in _messages(data[start + 2 : stop])
        splices += 16 <= kind <= 18 or kind in (36, 37)  # broken links, ends of sequences
    return CodedPicture(
        slices > 0 and entry_points == slices,
        slices > 0 and disposable == slices,
        layer,
        tuple(parameter_sets),
        splices > 0,
        rotations > 0,
    )


def _messages(data: bytes) -> Iterator[int]:
    """Yields the kind of each message in a unit (H.264, 7.3.2.3.1; H.265, 7.3.5)."""
    data, position = data.replace(b"\0\0\3", b"\0\0"), 0
    # The last byte has only the bit that ends the unit.
    while position < len(data) - 1:
        kind, position = _number(data, position)
        size, position = _number(data, position)
        yield kind
        position += size


def _number(data: bytes, position: int) -> tuple[int, int]:
    """Returns the sum of bytes up to the first that is not 255, and the position after it."""
    number = 0
    while data[position : position + 1] == b"\xff":
        number, position = number + 255, position + 1
    return number + sum(data[position : position + 1]), position + 1


def units_of(data: bytes, length: int) -> Iterator[tuple[int, int]]:
    """Yields where each unit starts and stops.

    Args:
        data: bytes of a packet.
        length: number of bytes before each unit that give its size; 0 where start codes separate
            the units.
    """
    if length == 0:
        start = data.find(_START)
        while start >= 0:
            start += 3
            following = data.find(_START, start)
            stop = len(data) if following < 0 else following
            if start < stop:
                yield start, stop
            start = following
        return
    stop = 0
    while stop + length < len(data):
        start = stop + length
        stop = start + int.from_bytes(data[stop:start], "big")
        if start < stop:
            yield start, min(stop, len(data))
