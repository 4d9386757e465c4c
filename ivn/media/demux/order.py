"""The order in which pictures are shown, read from their headers as they come to be decoded.

H.264 and H.265 count pictures in the order of display (ITU-T H.264, 7.3.2.1, 7.3.3 and 8.2.1;
H.265, 7.3.2.2, 7.3.2.3, 7.3.6.1 and 8.3.1). MPEG-1, MPEG-2 and MPEG-4 show what is made from both
sides (B) at once, and anything else after the B that follow it (ISO/IEC 11172-2, 2.4.3.4; 13818-2,
6.1.1.11; 14496-2, 6.2.5). No pixel is touched.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.media.demux.bitstream import units_of

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# From a packet's bytes to a number that ascends in the order of display, or None where headers do
# not tell: the packet holds no picture, several, or one that may not be shown.
Read = Callable[[bytes], int | None]

# Of a sequence of pictures, more than are counted before the count begins anew.
_SEQUENCE = 2**40

# Bytes of a slice's header that hold all that is read here.
_HEADER = 64

# Bytes of a parameter set.
_LONGEST_SET = 1024

# Profiles of H.264 whose parameter sets say how chroma is stored.
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)

# A packet of MPEG-4 of fewer bytes stands for a picture that is elsewhere, or repeats the last.
_LEAST_MPEG4 = 20

# Codecs without pictures that are made from later ones: they are shown as they are decoded.
_AS_DECODED = (
    *("vp8", "vp9", "av1", "vp6", "vp6f", "gif", "cinepak", "flv1", "h263"),
    *("wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3"),
)


def order_reader(stream: "VideoStream") -> Read | None:
    """Reads the packets of a stream one after another; None where only decoding tells."""
    context = stream.codec_context
    extra, name = context.extradata or b"", context.codec.canonical_name
    if context.codec.intra_only or name in _AS_DECODED:
        return _Counted().read
    if name == "h264":
        return _H264(extra).read
    if name == "hevc":
        return _H265(extra).read
    if name == "mpeg4":
        return _Kinds(_kind_of_mpeg4).read
    return _Kinds(_kind_of_mpeg2).read if name in ("mpeg1video", "mpeg2video") else None


@dataclass
class _Counted:
    seen: int = 0

    def read(self, data: bytes) -> int:
        self.seen += 1
        return self.seen


class _Bits:
    """Reads a header; ends raise IndexError, as damage does."""

    def __init__(self, data: bytes) -> None:
        # A byte 3 behind two zeros is there to prevent what would look like a start code.
        self._data = data.replace(b"\0\0\3", b"\0\0")
        self._value, self._left = int.from_bytes(self._data, "big"), 8 * len(self._data)

    def take(self, count: int) -> int:
        """The next bits as a number."""
        self._left -= count
        if self._left < 0:
            raise IndexError("the header is too short")
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """ue(v) of both standards: a number coded by Exp-Golomb's rule."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """se(v): as :meth:`number`, 1, -1, 2, -2 and on."""
        value = self.number()
        return (value + 1) // 2 if value % 2 else -(value // 2)


@dataclass
class _Count:
    """The count of pictures in the order of display, of which headers give the last digits."""

    sequence: int = 0
    low: int = 0
    high: int = 0

    def begin(self) -> None:
        """Count anew: all that comes is shown after all that came."""
        self.sequence, self.low, self.high = self.sequence + 1, 0, 0

    def of(self, low: int, size: int, *, kept: bool) -> int:
        """The whole number; ``kept`` where those that follow count from this picture."""
        high = self.high
        if low < self.low and self.low - low >= size // 2:
            high += size
        elif low > self.low and low - self.low > size // 2:
            high -= size
        if kept:
            self.low, self.high = low, high
        return self.sequence * _SEQUENCE + high + low


class _Stream(ABC):
    """What H.264 and H.265 share: parameter sets by their numbers, and how units are parted."""

    def __init__(self) -> None:
        self.length, self.count = 0, _Count()
        self.sets: dict[tuple[str, int], tuple[int, ...]] = {}

    def keep(self, units: Iterator[bytes]) -> None:
        """Remember the parameter sets, as far as they are whole."""
        try:
            for unit in units:
                self.unit(unit)
        except (IndexError, KeyError):
            return  # what needs the others does not find them

    def read(self, data: bytes) -> int | None:
        try:
            for start, stop in units_of(data, self.length):
                found = self.unit(data[start : min(stop, start + _LONGEST_SET)])
                if found is not None:
                    return found
        except (IndexError, KeyError):
            return None  # damage, or parameter sets that never came
        return None

    @abstractmethod
    def unit(self, data: bytes) -> int | None:
        """The number of the picture that a unit begins; None of other units."""


class _H264(_Stream):
    def __init__(self, extra: bytes) -> None:
        super().__init__()
        self._frames = 0
        # The configuration record (ISO/IEC 14496-15, 5.3.3.1) begins with 1, start codes with 0.
        record = len(extra) > 6 and extra[0] == 1
        self.length = (extra[4] & 3) + 1 if record else 0
        self.keep(_sets_of_avc(extra) if record else _sets(extra))

    def unit(self, data: bytes) -> int | None:
        kind = data[0] & 31
        if kind == 7:
            self._keep_sequence(_Bits(data[1:]))
        elif kind == 8:
            bits = _Bits(data[1:_HEADER])
            number = bits.number()
            self.sets["picture", number] = (bits.number(),)
        elif kind in (1, 2, 5):
            return self._slice(_Bits(data[1:_HEADER]), kind == 5, kept=bool(data[0] & 0x60))
        return None

    def _keep_sequence(self, bits: _Bits) -> None:
        profile, _, number = bits.take(8), bits.take(16), bits.number()
        planes = 0
        if profile in _WITH_CHROMA:
            chroma = bits.number()
            planes = bits.take(1) if chroma == 3 else 0
            bits.number(), bits.number(), bits.take(1)
            if bits.take(1):
                for which in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _pass_scaling_list(bits, 16 if which < 6 else 64)
        frame_bits, how, size = bits.number() + 4, bits.number(), 0
        if how == 0:
            size = _digits(bits)
        elif how == 1:
            bits.take(1), bits.signed(), bits.signed()
            for _ in range(bits.number()):
                bits.signed()
        bits.number(), bits.take(1), bits.number(), bits.number()
        self.sets["sequence", number] = (planes, frame_bits, how, size, bits.take(1))

    def _slice(self, bits: _Bits, idr: bool, *, kept: bool) -> int | None:
        bits.number(), bits.number()
        (sequence,) = self.sets["picture", bits.number()]
        planes, frame_bits, how, size, whole_frames = self.sets["sequence", sequence]
        bits.take(2 * planes + frame_bits)
        if not whole_frames and bits.take(1):
            return None  # a field: two packets may show one frame
        if idr:
            bits.number()
            self.count.begin()
        if how == 0:
            return self.count.of(bits.take(size), 1 << size, kept=kept)
        self._frames += 1  # shown as decoded, or by a rule that is not followed here
        return self.count.sequence * _SEQUENCE + self._frames if how == 2 else None


def _digits(bits: _Bits) -> int:
    """How many last binary digits of the count are written down; both standards allow 4 to 16."""
    count = bits.number() + 4
    if count > 16:
        raise IndexError("the parameter set is damaged")
    return count


def _pass_scaling_list(bits: _Bits, size: int) -> None:
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
        self.keep(_sets_of_hevc(extra) if record else _sets(extra))

    def unit(self, data: bytes) -> int | None:
        kind, layer = data[0] >> 1 & 63, (data[1] & 7) - 1
        if kind == 33:
            self._keep_sequence(_Bits(data[2:]))
        elif kind == 34:
            bits = _Bits(data[2:_HEADER])
            number, sequence = bits.number(), bits.number()
            self.sets["picture", number] = (sequence, *(bits.take(n) for n in (1, 1, 3)))
        elif kind < 32:
            return self._slice(_Bits(data[2:_HEADER]), kind, layer)
        return None

    def _keep_sequence(self, bits: _Bits) -> None:
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
        self.sets["sequence", number] = (planes, _digits(bits))

    def _slice(self, bits: _Bits, kind: int, layer: int) -> int | None:
        if not bits.take(1):
            return None  # the packet begins in the middle of a picture
        if 16 <= kind <= 23:
            bits.take(1)
        sequence, _, output, reserved = self.sets["picture", bits.number()]
        planes, size = self.sets["sequence", sequence]
        bits.take(reserved)
        bits.number()
        if output and not bits.take(1):
            return None  # it is never shown
        bits.take(2 * planes)
        if kind in (19, 20):
            self.count.begin()
            return self.count.of(0, 1 << size, kept=True)
        # Pictures of higher layers, leading ones, and those that none of their layer is made from.
        passed = layer > 0 or 6 <= kind <= 9 or (kind < 16 and kind % 2 == 0)
        return self.count.of(bits.take(size), 1 << size, kept=not passed)


def _sets(extra: bytes) -> Iterator[bytes]:
    return (extra[start:stop] for start, stop in units_of(extra, 0))


def _sets_of_avc(extra: bytes) -> Iterator[bytes]:
    """The parameter sets of a configuration record: of sequences, then of pictures."""
    place = 5
    for mask in (31, 255):
        count, place = extra[place] & mask, place + 1
        for _ in range(count):
            size = int.from_bytes(extra[place : place + 2], "big")
            yield extra[place + 2 : place + 2 + size]
            place += 2 + size


def _sets_of_hevc(extra: bytes) -> Iterator[bytes]:
    """The parameter sets of a configuration record, which are parted by kinds."""
    place = 23
    for _ in range(extra[22]):
        count, place = int.from_bytes(extra[place + 1 : place + 3], "big"), place + 3
        for _ in range(count):
            size = int.from_bytes(extra[place : place + 2], "big")
            yield extra[place + 2 : place + 2 + size]
            place += 2 + size


class _Kinds:
    """Pictures that tell whether they are made from both sides."""

    def __init__(self, kind_of: Callable[[bytes], int | None]) -> None:
        self._kind_of, self._others, self._both_sided = kind_of, 0, 0

    def read(self, data: bytes) -> int | None:
        kind = self._kind_of(data)
        if kind is None or (not self._others and kind != 1):
            return None
        if kind == 3:
            self._both_sided += 1
            return self._others * _SEQUENCE + self._both_sided
        self._others, self._both_sided = self._others + 1, 0
        return self._others * _SEQUENCE + _SEQUENCE // 2


def _kind_of_mpeg4(data: bytes) -> int | None:
    """1 to 4: I, P, B, S (vop_coding_type)."""
    place = data.find(b"\0\0\1\xb6")
    several = data.find(b"\0\0\1\xb6", place + 4) >= 0
    if place < 0 or several or len(data) < max(place + 5, _LEAST_MPEG4):
        return None
    return (data[place + 4] >> 6) + 1


def _kind_of_mpeg2(data: bytes) -> int | None:
    """1 to 4: I, P, B, D (picture_coding_type)."""
    place = data.find(b"\0\0\1\0")
    return data[place + 5] >> 3 & 7 if 0 <= place < len(data) - 5 else None
