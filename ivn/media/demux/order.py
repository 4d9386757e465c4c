"""Reads the display order of pictures from their headers, in decoding order.

H.264 and H.265 count pictures in display order (ITU-T H.264, 7.3.2.1, 7.3.3 and 8.2.1; H.265,
7.3.2.2, 7.3.2.3, 7.3.6.1 and 8.3.1). In MPEG-1, MPEG-2 and MPEG-4, B pictures are shown at once,
and any other picture after the B pictures that follow it (ISO/IEC 11172-2, 2.4.3.4; 13818-2,
6.1.1.11; 14496-2, 6.2.5). Nothing is decoded.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.media.demux.bitstream import units_of

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# From a packet's bytes to a number that ascends in display order, or None where headers do not
# tell: the packet has no picture, several, or one that may not be shown.
ReadOrder = Callable[[bytes], int | None]

# A sequence of pictures, after which the count begins anew, is shorter than this.
_SEQUENCE = 2**40

# The fields that are read here lie in the first bytes of a slice's header.
_HEADER_BYTES = 64

# Limit of the bytes of a parameter set.
_MAX_SET_BYTES = 1024

# Profiles of H.264 whose parameter sets have a chroma format.
_CHROMA_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)

# A shorter packet of MPEG-4 stands for a picture in another packet, or repeats the last one.
_MIN_MPEG4_BYTES = 20

# Codecs whose display order is the decoding order.
_IN_DECODING_ORDER = (
    *("vp8", "vp9", "av1", "vp6", "vp6f", "gif", "cinepak", "flv1", "h263"),
    *("wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3"),
)


def order_reader(stream: "VideoStream") -> ReadOrder | None:
    """Returns a function for the packets in decoding order; None where headers do not tell."""
    context = stream.codec_context
    extra, name = context.extradata or b"", context.codec.canonical_name
    if context.codec.intra_only or name in _IN_DECODING_ORDER:
        return _Counted().read
    if name == "h264":
        return _H264(extra).read
    if name == "hevc":
        return _H265(extra).read
    if name == "mpeg4":
        return _ByType(_type_of_mpeg4).read
    return _ByType(_type_of_mpeg2).read if name in ("mpeg1video", "mpeg2video") else None


@dataclass
class _Counted:
    seen: int = 0

    def read(self, data: bytes) -> int:
        self.seen += 1
        return self.seen


class _Bits:
    """A reader of a header's bits, which raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        # Encoders insert a byte 3 after two zeros, so that no start code appears in the data.
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(self._data, "big"), 8 * len(self._data)

    def take(self, count: int) -> int:
        """Returns the next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the header is too short")
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """Reads ue(v) of both standards: an unsigned number in Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """Reads se(v) of both standards: a signed number in the order 0, 1, -1, 2, -2, ..."""
        value = self.number()
        return (value + 1) // 2 if value % 2 else -(value // 2)


@dataclass
class _Count:
    """The picture order count, of which headers give the last binary digits."""

    sequence: int = 0
    low: int = 0
    high: int = 0

    def begin(self) -> None:
        """Begins a new sequence, whose pictures are shown after all earlier ones."""
        self.sequence, self.low, self.high = self.sequence + 1, 0, 0

    def whole(self, low: int, size: int, *, is_reference: bool) -> int:
        """Returns the whole count of a picture.

        Args:
            low: last digits of the count.
            size: number of values that ``low`` can have.
            is_reference: whether later pictures are counted from this one.
        """
        high = self.high
        if low < self.low and self.low - low >= size // 2:
            high += size
        elif low > self.low and low - self.low > size // 2:
            high -= size
        if is_reference:
            self.low, self.high = low, high
        return self.sequence * _SEQUENCE + high + low


class _Stream(ABC):
    """A reader of H.264 or H.265: it remembers the parameter sets by their kind and number."""

    def __init__(self) -> None:
        self.length, self.count = 0, _Count()
        self.sets: dict[tuple[str, int], tuple[int, ...]] = {}

    def remember(self, units: Iterator[bytes]) -> None:
        """Reads parameter sets up to the first that is damaged."""
        try:
            for unit in units:
                self.read_unit(unit)
        except (IndexError, KeyError):
            return  # a picture that needs a set that is not there has no known order

    def read(self, data: bytes) -> int | None:
        try:
            for start, stop in units_of(data, self.length):
                order = self.read_unit(data[start : min(stop, start + _MAX_SET_BYTES)])
                if order is not None:
                    return order
        except (IndexError, KeyError):
            return None  # damaged, or a parameter set is missing
        return None

    @abstractmethod
    def read_unit(self, data: bytes) -> int | None:
        """Returns the display order of the picture that a unit begins; None for other units."""


class _H264(_Stream):
    def __init__(self, extra: bytes) -> None:
        super().__init__()
        self._frames = 0
        # The configuration record (ISO/IEC 14496-15, 5.3.3.1) begins with 1, start codes with 0.
        record = len(extra) > 6 and extra[0] == 1
        self.length = (extra[4] & 3) + 1 if record else 0
        self.remember(_sets_of_avc(extra) if record else _sets(extra))

    def read_unit(self, data: bytes) -> int | None:
        kind = data[0] & 31
        if kind == 7:
            self._read_sequence(_Bits(data[1:]))
        elif kind == 8:
            bits = _Bits(data[1:_HEADER_BYTES])
            number = bits.number()
            self.sets["picture", number] = (bits.number(),)
        elif kind in (1, 2, 5):
            return self._read_slice(
                _Bits(data[1:_HEADER_BYTES]), kind == 5, is_reference=bool(data[0] & 0x60)
            )
        return None

    def _read_sequence(self, bits: _Bits) -> None:
        profile, _, number = bits.take(8), bits.take(16), bits.number()
        planes = 0
        if profile in _CHROMA_PROFILES:
            chroma = bits.number()
            planes = bits.take(1) if chroma == 3 else 0
            bits.number(), bits.number(), bits.take(1)
            if bits.take(1):
                for which in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if which < 6 else 64)
        frame_bits, how, size = bits.number() + 4, bits.number(), 0
        if how == 0:
            size = _count_bits(bits)
        elif how == 1:
            bits.take(1), bits.signed(), bits.signed()
            for _ in range(bits.number()):
                bits.signed()
        bits.number(), bits.take(1), bits.number(), bits.number()
        self.sets["sequence", number] = (planes, frame_bits, how, size, bits.take(1))

    def _read_slice(self, bits: _Bits, idr: bool, *, is_reference: bool) -> int | None:
        bits.number(), bits.number()
        (sequence,) = self.sets["picture", bits.number()]
        planes, frame_bits, how, size, whole_frames = self.sets["sequence", sequence]
        bits.take(2 * planes + frame_bits)
        if not whole_frames and bits.take(1):
            return None  # a field: two packets may be one frame
        if idr:
            bits.number()
            self.count.begin()
        if how == 0:
            return self.count.whole(bits.take(size), 1 << size, is_reference=is_reference)
        self._frames += 1  # type 2 is shown in decoding order; type 1 is not implemented here
        return self.count.sequence * _SEQUENCE + self._frames if how == 2 else None


def _count_bits(bits: _Bits) -> int:
    """Returns how many last binary digits of the count headers have; 4 to 16 in both standards."""
    size = bits.number() + 4
    if size > 16:
        raise IndexError("the parameter set is damaged")
    return size


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class _H265(_Stream):
    def __init__(self, extra: bytes) -> None:
        super().__init__()
        record = len(extra) > 22 and extra[0] == 1
        self.length = (extra[21] & 3) + 1 if record else 0
        self.remember(_sets_of_hevc(extra) if record else _sets(extra))

    def read_unit(self, data: bytes) -> int | None:
        kind, layer = data[0] >> 1 & 63, (data[1] & 7) - 1
        if kind == 33:
            self._read_sequence(_Bits(data[2:]))
        elif kind == 34:
            bits = _Bits(data[2:_HEADER_BYTES])
            number, sequence = bits.number(), bits.number()
            self.sets["picture", number] = (sequence, *(bits.take(n) for n in (1, 1, 3)))
        elif kind < 32:
            return self._read_slice(_Bits(data[2:_HEADER_BYTES]), kind, layer)
        return None

    def _read_sequence(self, bits: _Bits) -> None:
        _, layers, _ = bits.take(4), bits.take(3), bits.take(1)
        bits.take(96)
        present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
        bits.take(2 * (8 - layers) if layers else 0)
        for profile, level in present:
            bits.take(88 * profile + 8 * level)
        number, chroma = bits.number(), bits.number()
        planes = bits.take(1) if chroma == 3 else 0
        bits.number(), bits.number()
        if bits.take(1):
            for _ in range(4):
                bits.number()
        bits.number(), bits.number()
        self.sets["sequence", number] = (planes, _count_bits(bits))

    def _read_slice(self, bits: _Bits, kind: int, layer: int) -> int | None:
        if not bits.take(1):
            return None  # the packet begins in the middle of a picture
        if 16 <= kind <= 23:
            bits.take(1)
        sequence, _, output, reserved = self.sets["picture", bits.number()]
        planes, size = self.sets["sequence", sequence]
        bits.take(reserved)
        bits.number()
        if output and not bits.take(1):
            return None  # the picture is never shown
        bits.take(2 * planes)
        if kind in (19, 20):
            self.count.begin()
            return self.count.whole(0, 1 << size, is_reference=True)
        # No count follows from pictures of higher layers, leading and non-reference pictures.
        ignored = layer > 0 or 6 <= kind <= 9 or (kind < 16 and kind % 2 == 0)
        return self.count.whole(bits.take(size), 1 << size, is_reference=not ignored)


def _sets(extra: bytes) -> Iterator[bytes]:
    return (extra[start:stop] for start, stop in units_of(extra, 0))


def _sets_of_avc(extra: bytes) -> Iterator[bytes]:
    """Yields the parameter sets of a configuration record: those of sequences, then of pictures."""
    position = 5
    for mask in (31, 255):
        count, position = extra[position] & mask, position + 1
        for _ in range(count):
            size = int.from_bytes(extra[position : position + 2], "big")
            yield extra[position + 2 : position + 2 + size]
            position += 2 + size


def _sets_of_hevc(extra: bytes) -> Iterator[bytes]:
    """Yields the parameter sets of a configuration record, which is ordered by their kinds."""
    position = 23
    for _ in range(extra[22]):
        count, position = int.from_bytes(extra[position + 1 : position + 3], "big"), position + 3
        for _ in range(count):
            size = int.from_bytes(extra[position : position + 2], "big")
            yield extra[position + 2 : position + 2 + size]
            position += 2 + size


class _ByType:
    """A reader of MPEG-1, MPEG-2 and MPEG-4, whose display order follows from picture types."""

    def __init__(self, type_of: Callable[[bytes], int | None]) -> None:
        self._type_of, self._others, self._b_pictures = type_of, 0, 0

    def read(self, data: bytes) -> int | None:
        picture_type = self._type_of(data)
        if picture_type is None or (not self._others and picture_type != 1):
            return None
        if picture_type == 3:
            self._b_pictures += 1
            return self._others * _SEQUENCE + self._b_pictures
        self._others, self._b_pictures = self._others + 1, 0
        return self._others * _SEQUENCE + _SEQUENCE // 2


def _type_of_mpeg4(data: bytes) -> int | None:
    """Returns 1 to 4 for I, P, B and S pictures (vop_coding_type)."""
    start = data.find(b"\0\0\1\xb6")
    several = data.find(b"\0\0\1\xb6", start + 4) >= 0
    if start < 0 or several or len(data) < max(start + 5, _MIN_MPEG4_BYTES):
        return None
    return (data[start + 4] >> 6) + 1


def _type_of_mpeg2(data: bytes) -> int | None:
    """Returns 1 to 4 for I, P, B and D pictures (picture_coding_type)."""
    start = data.find(b"\0\0\1\0")
    return data[start + 5] >> 3 & 7 if 0 <= start < len(data) - 5 else None
