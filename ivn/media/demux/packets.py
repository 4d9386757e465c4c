"""Reads from packets, without decoding, how many frames there are, when, and what each needs."""

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ivn.errors import DecodeError
from ivn.media.container import PacketStream, TimeWindow, check_all_there, is_edited
from ivn.media.demux.bitstream import CodedPicture, picture_reader
from ivn.media.demux.clock import Clock
from ivn.media.demux.order import order_reader

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Limit of the bytes of packets that are kept for decoding; larger windows are read twice.
_MAX_HELD_BYTES = 2**26


@dataclass(frozen=True)
class PacketTable:
    """Facts of the packets of a window, in decoding order.

    Attributes:
        count: number of frames in the window; an upper bound where packets may show nothing.
        times: display time of each packet with data, in the stream's ticks.
        pictures: role of the picture in each packet; empty where headers do not tell.
        hidden: numbers of packets that are decoded and, by the file's own word, not shown.
        shown: numbers of packets that the window shows, in display order; empty where time stamps
            are not trusted.
        held: packets with data; empty where they are too large to keep.
        sizes_may_vary: whether frames may change size without new parameter sets.
        trusted: whether the order of time stamps is the display order by the pictures' headers;
            None where headers do not tell.
        exact: whether ``count`` is the number of frames by the headers.
        restarts: number of times that the file's clock jumps back; ``times`` has no jumps.
        keys: number of packets of the window that the file marks as key frames.
        clock: clock by which ``count`` was counted; None where all packets of a file were.
    """

    count: int
    times: list[int | None]
    pictures: list[CodedPicture]
    hidden: frozenset[int]
    shown: list[int]
    held: "list[Packet]"
    sizes_may_vary: bool = False
    trusted: bool | None = True
    exact: bool = True
    restarts: int = 0
    keys: int = 0
    clock: Clock | None = None


def read_packets(
    name: str,
    container: "InputContainer",
    stream: "VideoStream",
    packets: PacketStream,
    window: TimeWindow,
    clock: Clock,
) -> PacketTable:
    """Reads all packets up to the window's end.

    It also reads as many packets after the end as may be shown before the last: they reveal time
    stamps that are decoding times. Where an edit list shows samples several times, it reads all
    packets, since the time stamps of one part tell nothing of another's.

    Where the clock does not trust time stamps, it reads the whole file, and ``count`` is the number
    of frames that appear in the window at the stream's rate.

    Raises:
        DecodeError: The file has fewer packets than its index lists.
    """
    low, high = clock.span(window)
    read_picture, read_order = picture_reader(stream), order_reader(stream)
    delay, edited = stream.codec_context.reorder_depth, is_edited(container, stream)
    times: list[int | None] = []
    pictures: list[CodedPicture] = []
    order: list[int | None] = []
    held: list[Packet] = []
    decoded: list[int] = []
    later: list[tuple[int | None, int | None]] = []  # time stamp and order of packets after the end
    hidden, hidden_later, inside, size, keys = set(), set(), [], 0, 0
    for packet in packets:
        if later or is_after(packet, high):
            if packet.is_discard:
                hidden_later.add(len(times) + len(later))
            later.append((packet.pts, None if read_order is None else read_order(bytes(packet))))
            if len(later) > delay and not edited:
                break
            continue
        size += packet.size
        if size <= _MAX_HELD_BYTES:
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
            read_picture = None
        data = bytes(packet) if read_picture is not None or read_order is not None else b""
        if read_picture is not None:
            pictures.append(read_picture(data))
        order.append(None if read_order is None else read_order(data))
    if window == TimeWindow():
        check_all_there(name, container, stream, len(times))
    count = len(inside)
    if not clock.trusted:
        clock = clock.at_rate_of(decoded)
        count = sum(window.holds(clock.seconds(number)) for number in range(count))
    output = _output_order(order + [count for _, count in later], delay)
    trusted = _are_trusted(times + [time for time, _ in later], output, hidden | hidden_later)
    known = pictures if read_picture is not None else []
    return PacketTable(
        count,
        times,
        known,
        frozenset(hidden),
        sorted(inside, key=lambda number: _time(times, number)) if trusted else [],
        held if size <= _MAX_HELD_BYTES else [],
        stream.codec_context.codec.canonical_name not in ("h264", "hevc"),
        trusted,
        _each_shows_one(known, dict(zip(output, range(len(output)), strict=True)), inside),
        packets.restarts,
        keys,
        clock,
    )


def is_after(packet: "Packet", high: float) -> bool:
    """Returns whether this and all later packets belong to frames at or after a time stamp."""
    return packet.dts is not None and packet.dts >= high and not packet.is_discard


def check_count(name: str, count: int, window: TimeWindow) -> None:
    """Raises DecodeError, with the name of the video, where a window has no frames."""
    if not count:
        inside = "" if window == TimeWindow() else f" from {window.start} s to {window.end} s"
        raise DecodeError(f"{name}: no video frames{inside}")


def _output_order(order: list[int | None], delay: int) -> list[int]:
    """Returns the numbers of the packets in the order in which the decoder outputs their frames.

    The decoder holds ``delay`` pictures and outputs the earliest of one more. The order is empty
    where headers do not tell it, or where it is not the display order.
    """
    waiting: list[tuple[int, int]] = []
    out: list[tuple[int, int]] = []
    for number, count in enumerate(order):
        if count is None:
            return []
        heapq.heappush(waiting, (count, number))
        if len(waiting) > delay:
            out.append(heapq.heappop(waiting))
    out += sorted(waiting)
    return [number for _, number in out] if _ascend([count for count, _ in out]) else []


def _are_trusted(times: list[int | None], output: list[int], hidden: set[int]) -> bool | None:
    """Returns whether time stamps ascend in display order; None where that is unknown."""
    shown = [times[number] for number in range(len(times)) if number not in hidden]
    known = [time for time in shown if time is not None]
    if not known:
        return False
    if not output or len(known) < len(shown):
        return None
    return _ascend([times[number] or 0 for number in output if number not in hidden])


def _ascend(numbers: list[int]) -> bool:
    return all(first < second for first, second in itertools.pairwise(numbers))


@dataclass(frozen=True)
class DecodingRun:
    """Packets that are decoded one after another, from an entry point on.

    Attributes:
        numbers: numbers of the packets to decode, ascending; no wanted frame needs those between.
        wanted: numbers of the packets whose frames are wanted.
    """

    numbers: list[int]
    wanted: frozenset[int]


def decoding_runs(table: PacketTable, wanted: set[int]) -> list[DecodingRun]:
    """Returns the fewest packets to decode for the wanted ones; none where all are necessary.

    Groups of pictures without a wanted one are skipped, and so are disposable pictures in the
    others.
    """
    pictures, times = table.pictures, table.times
    entries = [number for number, picture in enumerate(pictures) if picture.entry_point]
    if not entries or not numbers_are_certain(table) or not _have_same_parameters(pictures):
        return []
    top = max(picture.layer for picture in pictures)
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
        # Frames shown before an open entry point need pictures before it; and adjacent spans are
        # one.
        while spans and entry <= spans[-1][1] + 1:
            entry = min(entry, spans.pop()[0])
        spans.append((entry, number))
    runs = []
    for start, stop in spans:
        inside = frozenset(number for number in wanted if start <= number <= stop)
        numbers = [
            number
            for number in range(start, stop + 1)
            # A picture that is decoded after the entry point and shown before it needs earlier
            # ones.
            if number in inside
            or (
                _time(times, number) >= _time(times, start)
                and not (pictures[number].disposable and pictures[number].layer == top)
            )
        ]
        runs.append(DecodingRun(numbers, inside))
    return runs


def numbers_are_certain(table: PacketTable) -> bool:
    """Returns whether frames can be numbered before they are decoded: each packet shows one."""
    positions = {number: _time(table.times, number) for number in range(len(table.times))}
    return bool(table.shown) and _each_shows_one(table.pictures, positions, table.shown)


def _each_shows_one(
    pictures: list[CodedPicture], positions: Mapping[int, float], shown: list[int]
) -> bool:
    """Returns whether each packet that is shown gives one frame.

    Args:
        pictures: role of the picture in each packet; empty where headers do not tell.
        positions: number of a packet -> its position in display order; empty where unknown.
        shown: numbers of the packets.
    """
    if not positions or any(picture.splice for picture in pictures):
        return False
    start = next((number for number, picture in enumerate(pictures) if picture.entry_point), None)
    if start is None:
        if pictures:
            return False
        start = 0
    # Of pictures whose references are missing, decoders show some or none.
    return all(number >= start and positions[number] >= positions[start] for number in shown)


def _time(times: list[int | None], number: int) -> float:
    time = times[number]
    return -math.inf if time is None else time


def _have_same_parameters(pictures: list[CodedPicture]) -> bool:
    """Returns whether the same parameter sets are in force at every entry point."""
    distinct = {picture.parameter_sets for picture in pictures if picture.parameter_sets}
    if not distinct:
        return True
    first = next(number for number, picture in enumerate(pictures) if picture.parameter_sets)
    without = any(
        picture.entry_point and not picture.parameter_sets for picture in pictures[first:]
    )
    return len(distinct) == 1 and not without
