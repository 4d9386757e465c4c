"""What a video's packets tell before one is decoded: how many frames, when, and from what."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.data.container import DecodeError, Window
from ivn.data.decode.units import Unit, unit_reader

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Bytes of packets that are kept for decoding; longer windows are read from the file twice.
_HELD = 2**26


@dataclass(frozen=True)
class Packets:
    """The packets of a window, in the order of decoding.

    Attributes:
        count: frames in the window; an upper bound where packets may show nothing.
        times: display time of each packet that has data, in the stream's ticks.
        units: what each is to the others; empty where only decoding tells.
        hidden: numbers of those that are decoded, but by the file's own word not shown.
        shown: numbers of those that the window shows, in the order of display; empty where time
            stamps are missing or repeat.
        held: the packets that have data; empty where they are too large to keep.
        sizes_may_vary: without a word in parameter sets.
    """

    count: int
    times: list[int | None]
    units: list[Unit]
    hidden: frozenset[int]
    shown: list[int]
    held: "list[Packet]"
    sizes_may_vary: bool = False


class _Counter:
    """Counts the packets of a window, of the file and of what is shown."""

    def __init__(
        self, name: str, container: "InputContainer", stream: "VideoStream", window: Window
    ) -> None:
        self._name, self._window = name, window
        self._declared = stream.frames if "mp4" in container.format.name else 0
        self._low, self._high = window.ticks(stream)
        self._found = 0
        self.count = 0

    def is_behind(self, packet: "Packet") -> bool:
        """Whether this packet and all that follow belong to frames after the window."""
        return packet.dts is not None and packet.dts >= self._high

    def is_shown(self, packet: "Packet") -> bool:
        """Whether the window shows it; to be asked once for each packet with data."""
        self._found += 1
        time = packet.dts if packet.pts is None else packet.pts
        shown = not packet.is_discard and (time is None or self._low <= time < self._high)
        self.count += shown
        return shown

    def check(self) -> None:
        # The sample table of MP4 and MOV tells, before any frame is decoded, what is missing.
        if self._window == Window() and self._found < self._declared:
            there = f"{self._found} of {self._declared} frames are there"
            raise DecodeError(f"{self._name}: truncated, {there}")
        if not self.count:
            window = self._window
            inside = "" if window == Window() else f" from {window.start} s to {window.end} s"
            raise DecodeError(f"{self._name}: no video frames{inside}")


def count_packets(
    name: str,
    container: "InputContainer",
    stream: "VideoStream",
    packets: "Iterator[Packet]",
    window: Window,
) -> int:
    """How many of the packets the window shows.

    Raises:
        DecodeError: as :func:`read_packets`.
    """
    counter = _Counter(name, container, stream, window)
    for packet in packets:
        if counter.is_behind(packet):
            break
        if packet.size:
            counter.is_shown(packet)
    counter.check()
    return counter.count


def read_packets(
    name: str,
    container: "InputContainer",
    stream: "VideoStream",
    packets: "Iterator[Packet]",
    window: Window,
) -> Packets:
    """All packets up to the window's end.

    Raises:
        DecodeError: the window shows nothing, or the file's own index says that data is missing.
    """
    counter = _Counter(name, container, stream, window)
    read = unit_reader(stream)
    times: list[int | None] = []
    units: list[Unit] = []
    held: list[Packet] = []
    hidden, inside, size = set(), [], 0
    for packet in packets:
        if counter.is_behind(packet):
            break
        if packet.size == 0:
            continue
        size += packet.size
        if size <= _HELD:
            held.append(packet)
        if packet.is_discard:
            hidden.add(len(times))
        if counter.is_shown(packet):
            inside.append(len(times))
        times.append(packet.pts)
        if packet.has_sidedata("new_extradata"):
            read = None
        if read is not None:
            units.append(read(bytes(packet)))
    counter.check()
    known = None not in times and len(set(times)) == len(times)
    return Packets(
        counter.count,
        times,
        units if read is not None else [],
        frozenset(hidden),
        sorted(inside, key=lambda number: _time(times, number)) if known else [],
        held if size <= _HELD else [],
        stream.codec_context.codec.canonical_name not in ("h264", "hevc"),
    )


@dataclass(frozen=True)
class Run:
    """Packets that are decoded one after another, from a place where decoding can begin.

    Attributes:
        numbers: of the packets to decode, ascending; what is left out is in nobody's way.
        wanted: those of them whose frames are asked for.
    """

    numbers: list[int]
    wanted: frozenset[int]


def runs_to(packets: Packets, wanted: set[int]) -> list[Run]:
    """The fewest packets that must be decoded for those wanted; none where all must be.

    Groups of pictures in which nothing is wanted are passed over, and in the others pictures that
    no other is made from.
    """
    units, times = packets.units, packets.times
    entries = [number for number, unit in enumerate(units) if unit.entry]
    if not entries or not numbers_are_certain(packets) or not _same_settings(units):
        return []
    top = max(unit.layer for unit in units)
    spans: list[tuple[int, int]] = []
    for number in sorted(wanted):
        entry = next(
            (
                entry
                for entry in reversed(entries)
                if entry <= number and _time(times, entry) <= _time(times, number)
            ),
            None,
        )
        if entry is None:
            return []
        # Frames before an open entry reach back over it; and what goes on needs no new beginning.
        while spans and entry <= spans[-1][1] + 1:
            entry = min(entry, spans.pop()[0])
        spans.append((entry, number))
    runs = []
    for start, stop in spans:
        inside = frozenset(number for number in wanted if start <= number <= stop)
        numbers = [
            number
            for number in range(start, stop + 1)
            # Shown before the entry, decoded behind it: made from what comes before it.
            if number in inside
            or (
                _time(times, number) >= _time(times, start)
                and not (units[number].spare and units[number].layer == top)
            )
        ]
        runs.append(Run(numbers, inside))
    return runs


def numbers_are_certain(packets: Packets) -> bool:
    """Whether frames can be numbered before they are decoded: each packet shows one."""
    units, times = packets.units, packets.times
    if not packets.shown or any(unit.splice for unit in units):
        return False
    start = next((number for number, unit in enumerate(units) if unit.entry), None)
    if start is None:
        return not units
    first = _time(times, start)
    # Made from what is not there: a few of these are shown, or none.
    return all(number >= start and _time(times, number) >= first for number in packets.shown)


def _time(times: list[int | None], number: int) -> float:
    time = times[number]
    return -math.inf if time is None else time


def _same_settings(units: list[Unit]) -> bool:
    """Whether the same parameter sets are in force wherever decoding begins."""
    found = {unit.settings for unit in units if unit.settings}
    if not found:
        return True
    first = next(number for number, unit in enumerate(units) if unit.settings)
    without = any(unit.entry and not unit.settings for unit in units[first:])
    return len(found) == 1 and not without
