"""What a video's packets tell before one is decoded: how many frames, when, and from what."""

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.errors import DecodeError
from ivn.media.container import Demuxed, Window, check_all_there, is_edited
from ivn.media.demux.bitstream import Unit, unit_reader
from ivn.media.demux.clock import Clock
from ivn.media.demux.order import order_reader

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
            stamps are not believed.
        held: the packets that have data; empty where they are too large to keep.
        sizes_may_vary: without a word in parameter sets.
        believed: whether pictures, as their headers say, are shown in the order of their time
            stamps; None where headers do not tell.
        exact: whether ``count`` is the number of frames, as headers say.
        restarts: how often the file's clock jumps back; its own time stamps are not these then.
        keys: packets that the file calls key frames, of those that the window shows.
        clock: by which ``count`` was counted; None where all of a file were.
    """

    count: int
    times: list[int | None]
    units: list[Unit]
    hidden: frozenset[int]
    shown: list[int]
    held: "list[Packet]"
    sizes_may_vary: bool = False
    believed: bool | None = True
    exact: bool = True
    restarts: int = 0
    keys: int = 0
    clock: Clock | None = None


def read_packets(
    name: str,
    container: "InputContainer",
    stream: "VideoStream",
    packets: Demuxed,
    window: Window,
    clock: Clock,
) -> Packets:
    """All packets up to the window's end.

    So many behind it are looked at as may be shown before the last ones: where time stamps are
    those of decoding, these show it. Where an edit list has samples in several places, all are,
    since the time stamps of one place tell nothing of another's.

    Where the clock does not believe time stamps, those are all of the file, and ``count`` is of the
    frames that appear in the window at the stream's rate.

    Raises:
        DecodeError: the file's own index says that data is missing.
    """
    low, high = clock.span(window)
    read, order_of = unit_reader(stream), order_reader(stream)
    delay, edited = stream.codec_context.reorder_depth, is_edited(container, stream)
    times: list[int | None] = []
    units: list[Unit] = []
    order: list[int | None] = []
    held: list[Packet] = []
    decoded: list[int] = []
    behind: list[tuple[int | None, int | None]] = []
    hidden, hidden_behind, inside, size, keys = set(), set(), [], 0, 0
    for packet in packets:
        if behind or is_behind(packet, high):
            if packet.is_discard:
                hidden_behind.add(len(times) + len(behind))
            behind.append((packet.pts, None if order_of is None else order_of(bytes(packet))))
            if len(behind) > delay and not edited:
                break
            continue
        size += packet.size
        if size <= _HELD:
            held.append(packet)
        time = packet.dts if packet.pts is None else packet.pts
        if packet.is_discard:
            hidden.add(len(times))
        elif time is None or low <= time < high:
            inside.append(len(times))
            keys += packet.is_keyframe
        times.append(packet.pts)
        if packet.dts is not None:
            decoded.append(packet.dts)
        if packet.has_sidedata("new_extradata"):
            read = None
        data = bytes(packet) if read is not None or order_of is not None else b""
        if read is not None:
            units.append(read(data))
        order.append(None if order_of is None else order_of(data))
    if window == Window():
        check_all_there(name, container, stream, len(times))
    count = len(inside)
    if not clock.believed:
        clock = clock.at_rate_of(decoded)
        count = sum(window.holds(clock.seconds(number)) for number in range(count))
    places = _places(order + [place for _, place in behind], delay)
    believed = _believed(times + [time for time, _ in behind], places, hidden | hidden_behind)
    known = units if read is not None else []
    return Packets(
        count,
        times,
        known,
        frozenset(hidden),
        sorted(inside, key=lambda number: _time(times, number)) if believed else [],
        held if size <= _HELD else [],
        stream.codec_context.codec.canonical_name not in ("h264", "hevc"),
        believed,
        _each_shows_one(known, dict(zip(places, range(len(places)), strict=True)), inside),
        packets.restarts,
        keys,
        clock,
    )


def is_behind(packet: "Packet", high: float) -> bool:
    """Whether this packet and all that follow belong to frames from a time stamp on."""
    return packet.dts is not None and packet.dts >= high and not packet.is_discard


def check_count(name: str, count: int, window: Window) -> None:
    """Raise DecodeError, which names the video, where a window has no frames."""
    if not count:
        inside = "" if window == Window() else f" from {window.start} s to {window.end} s"
        raise DecodeError(f"{name}: no video frames{inside}")


def _places(order: list[int | None], delay: int) -> list[int]:
    """The numbers of the packets in the order in which the decoder gives out their frames.

    It gives out the first in the order of display of more than ``delay`` pictures. Empty where
    headers do not tell, or have it give out frames in another order than that of display.
    """
    waiting: list[tuple[int, int]] = []
    out: list[tuple[int, int]] = []
    for number, place in enumerate(order):
        if place is None:
            return []
        heapq.heappush(waiting, (place, number))
        if len(waiting) > delay:
            out.append(heapq.heappop(waiting))
    out += sorted(waiting)
    return [number for _, number in out] if _ascend([place for place, _ in out]) else []


def _believed(times: list[int | None], places: list[int], hidden: set[int]) -> bool | None:
    """Whether time stamps ascend in the order of display; None where that is not known."""
    shown = [times[number] for number in range(len(times)) if number not in hidden]
    known = [time for time in shown if time is not None]
    if not known:
        return False
    if not places or len(known) < len(shown):
        return None
    return _ascend([times[number] or 0 for number in places if number not in hidden])


def _ascend(numbers: list[int]) -> bool:
    return all(one < other for one, other in itertools.pairwise(numbers))


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
    times = packets.times
    return bool(packets.shown) and _each_shows_one(
        packets.units, {number: _time(times, number) for number in range(len(times))}, packets.shown
    )


def _each_shows_one(units: list[Unit], places: Mapping[int, float], shown: list[int]) -> bool:
    """Whether each packet that is shown gives a frame.

    Args:
        units: of all packets; empty where they have no headers that are read.
        places: number of a packet to its place in the order of display; empty is unknown.
        shown: numbers of the packets.
    """
    if not places or any(unit.splice for unit in units):
        return False
    start = next((number for number, unit in enumerate(units) if unit.entry), None)
    if start is None:
        if units:
            return False
        start = 0
    # Made from what is not there: a few of these are shown, or none.
    return all(number >= start and places[number] >= places[start] for number in shown)


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
