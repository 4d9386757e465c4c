"""What a packet is to the others: a place to begin at, or a frame that no other is made from.

Read from the headers of the units (NAL) that make up a packet of H.264 (ITU-T H.264, 7.3.1 and
table 7-1) and H.265 (ITU-T H.265, 7.3.1.2 and table 7-1), and from those of VP8's and VP9's frames.
No pixel is touched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_START = b"\0\0\1"
_DISPLAY_ORIENTATION = 47  # the same in both


@dataclass(frozen=True, slots=True)
class Unit:
    """One packet, which is one picture.

    Attributes:
        entry: decoding can begin here; frames shown from this one on need nothing before it.
        spare: no other picture is made from it, as far as its temporal ``layer`` tells.
        layer: 0 but for H.265, where pictures of higher layers may be made from lower spare ones.
        settings: parameter sets that it carries.
        splice: it shows nothing (VP8, VP9), or pictures around it may be dropped, as where two
            streams of H.265 were joined: numbers are what decoding gives.
        turned: a message (SEI) of its own says how it is to be turned and mirrored.
    """

    entry: bool
    spare: bool
    layer: int = 0
    settings: tuple[bytes, ...] = ()
    splice: bool = False
    turned: bool = False


Read = Callable[[bytes], Unit]


def unit_reader(stream: "VideoStream") -> Read | None:
    """Reads the packets of a stream, or None where only decoding tells what they are."""
    context = stream.codec_context
    if context.codec.intra_only:
        return lambda _: Unit(entry=True, spare=True)
    extra = context.extradata or b""
    name = context.codec.canonical_name
    if name == "h264":
        # The configuration record (ISO/IEC 14496-15) begins with 1, start codes with 0.
        length = (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
        return lambda data: _h264(data, length)
    if name == "hevc":
        length = (extra[21] & 3) + 1 if len(extra) > 21 and extra[0] == 1 else 0
        return lambda data: _h265(data, length)
    if name == "vp8":  # RFC 6386, 9.1: key_frame, which is 0 where it is one, and show_frame
        return lambda data: Unit(not data[0] & 1, False, splice=not data[0] & 0x10)
    return _vp9 if name == "vp9" else None


def _vp9(data: bytes) -> Unit:
    """VP9 bitstream specification, 6.2: show_existing_frame, frame_type and show_frame; annex B:
    several frames in a packet, of which the last is shown."""
    profile = data[0] >> 5 & 1 | data[0] >> 3 & 2
    flags = data[0] >> (profile < 3)
    shown = flags & 0x05 or data[-1] & 0xE0 == 0xC0
    return Unit(entry=not flags & 0x06, spare=False, splice=not shown)


def _h264(data: bytes, length: int) -> Unit:
    slices = plain = referred = turned = 0
    settings = []
    for start, stop in units_of(data, length):
        kind = data[start] & 31
        if kind in (1, 2, 5):
            slices += 1
            plain += kind != 5
            referred += bool(data[start] & 0x60)
        elif kind == 6:
            turned += _DISPLAY_ORIENTATION in _messages(data[start + 1 : stop])
        elif kind in (7, 8, 13, 15):
            settings.append(data[start:stop])
    entry, spare = slices > 0 and not plain, slices > 0 and not referred
    return Unit(entry, spare, 0, tuple(settings), turned=turned > 0)


def _h265(data: bytes, length: int) -> Unit:
    slices = entries = spare = layer = splices = turned = 0
    settings = []
    for start, stop in units_of(data, length):
        kind = data[start] >> 1 & 63
        if kind < 32:
            slices += 1
            entries += 16 <= kind <= 21
            # Even numbers below 16: not referred to by their own layer.
            spare += kind < 16 and kind % 2 == 0
            layer = max(layer, (data[start + 1] & 7) - 1 if start + 1 < stop else 0)
            # FFmpeg's skip_frame knows no layers, and skips pictures that higher ones refer to.
        elif kind in (32, 33, 34):
            settings.append(data[start:stop])
        elif kind in (39, 40):
            turned += _DISPLAY_ORIENTATION in _messages(data[start + 2 : stop])
        splices += 16 <= kind <= 18 or kind in (36, 37)  # broken links, ends of sequences
    whole = slices > 0
    entry, spare_too = whole and entries == slices, whole and spare == slices
    return Unit(entry, spare_too, layer, tuple(settings), splices > 0, turned > 0)


def _messages(data: bytes) -> Iterator[int]:
    """The kinds of the messages in a unit of them (H.264, 7.3.2.3.1; H.265, 7.3.5)."""
    data, place = data.replace(b"\0\0\3", b"\0\0"), 0
    # The last byte holds nothing but the bit that ends the unit.
    while place < len(data) - 1:
        kind, place = _number(data, place)
        size, place = _number(data, place)
        yield kind
        place += size


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A number written as bytes to be added up, all but the last of which are 255; and its end."""
    number = 0
    while data[place : place + 1] == b"\xff":
        number, place = number + 255, place + 1
    return number + sum(data[place : place + 1]), place + 1


def units_of(data: bytes, length: int) -> Iterator[tuple[int, int]]:
    """Where each unit starts and stops: parted by start codes, or led by ``length`` bytes."""
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
    place = 0
    while place + length < len(data):
        start = place + length
        place = start + int.from_bytes(data[place:start], "big")
        if start < place:
            yield start, min(place, len(data))
