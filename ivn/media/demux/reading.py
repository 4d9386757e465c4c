"""A video's window read: its packets, and by which clock its frames appear.

Time stamps are believed where the headers of pictures say that they are shown in this order. Where
headers do not tell, all is decoded, and the order in which frames come decides.
"""

import itertools
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ivn.errors import DecodeError
from ivn.media.container import Demuxed, Window, begin_near, opened, window_of
from ivn.media.demux.bitstream import unit_reader
from ivn.media.demux.clock import Clock, clock_of_stream
from ivn.media.demux.order import order_reader
from ivn.media.demux.packets import Packets, check_count, is_behind, read_packets
from ivn.media.source import Source
from ivn.media.storage import named, version_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Packets that are looked at, at most, for the first frame that is shown.
_HEAD = 32

# Frames that are looked at where decoding begins inside of a group of pictures: of one that is made
# from what is not there, a decoder of MPEG-4 gives two, of which the first comes too early.
_FIRST = 4


@dataclass(frozen=True)
class Reading:
    """A window's packets, its file still open.

    Attributes:
        container, stream: to decode with.
        found: the packets.
        clock: by which frames appear.
        near: the time stamp near which the packets begin; None: they are those from the first on.
    """

    container: "InputContainer"
    stream: "VideoStream"
    found: Packets
    clock: Clock
    near: float | None


@dataclass(frozen=True)
class Decoded:
    """The frames of a whole file as decoding gives them, without their pixels.

    Attributes:
        clock: by which they appear.
        ticks: when each appears.
        restarted: the file's clock jumps back.
    """

    clock: Clock
    ticks: list[int]
    restarted: bool


@contextmanager
def read_window(
    source: Source, *, times: bool = False, count: bool = False, content: bytes = b""
) -> Iterator[Reading]:
    """The packets of a source's window, read, and the file that they are from.

    Args:
        source: the video and its window.
        times: the clock must be known; that of a part of a video always is.
        count: so must the number of frames.
        content: the bytes of the file, where they have been read.

    Raises:
        DecodeError: as :func:`ivn.media.container.opened` and :func:`read_packets`.
    """
    window, name = window_of(source), named(source)
    times = times or window != Window()
    clock: Clock | None = None
    decoded: Decoded | None = None
    seek = True
    while True:
        with opened(source, content=content) as (container, stream, packets):
            if clock is None:
                clock = clock_of_stream(stream)
                if window != Window():
                    clock, untouched = _from_the_first_frame(clock, stream, packets)
                    if not untouched:
                        continue
            near = clock.near(window) if seek else None
            if near is not None:
                begun = begin_near(container, stream, packets, near)
                seek = begun is not None
                if begun is None:
                    continue
                packets = begun
            found = read_packets(name, container, stream, packets, window, clock)
            clock = found.clock or clock
            if decoded is not None:
                found = replace(found, count=_inside(decoded, clock, window))
            if near is not None and found.restarts:
                seek = False  # how often before, only reading from the start tells
                continue
            believed = found.believed if times and clock.believed else True
            doubted = believed is None or (count and not found.exact)
            if decoded is not None or (believed and not doubted):
                check_count(name, found.count, window)
                yield Reading(container, stream, found, clock, near)
                return
        if doubted:
            decoded = by_decoding(source)
            clock, seek = decoded.clock, not decoded.restarted
        else:
            clock = clock.without_stamps()


@contextmanager
def opened_again(
    source: Source, read: Reading
) -> Iterator[tuple["VideoStream", Iterator["Packet"]]]:
    """The stream and the packets of a reading, to be decoded from their beginning.

    Raises:
        DecodeError: as :func:`ivn.media.container.opened`.
    """
    with opened(source) as (container, stream, packets):
        begun: Demuxed | None = packets
        if read.near is not None:
            begun = begin_near(container, stream, packets, read.near)
        if begun is None:
            raise DecodeError(f"{named(source)}: the file changed while it was read")
        yield stream, begun


def _from_the_first_frame(
    clock: Clock, stream: "VideoStream", packets: Demuxed
) -> tuple[Clock, bool]:
    """The clock, with the time stamp of the first frame that is shown.

    Also whether all packets are still to come, and the decoder as new. So it is where the first
    packet is a picture that needs no other, and no packet soon after is shown before it.
    """
    read, order_of = unit_reader(stream), order_reader(stream)
    head: list[Packet] = []
    for packet in packets:
        head.append(packet)
        first = head[0].pts
        if first is None or len(head) == _HEAD or (packet.dts is not None and packet.dts > first):
            break
    packets.give_back(head)
    places = [order_of(bytes(packet)) for packet in head] if order_of is not None else [None]
    known = [place for place in places if place is not None]
    leads = len(known) == len(places) > 0 and known[0] == min(known) and not head[0].is_discard
    if leads and head[0].is_keyframe and (read is None or read(bytes(head[0])).entry):
        stamp, untouched = head[0].pts, True
    else:
        frames = itertools.islice(frames_of(stream, packets, math.inf), _FIRST)
        stamps = [frame.pts for frame in frames]
        stamp, untouched = stamps[0] if stamps and _ascend(stamps) else None, False
    if stamp is None:
        return clock.without_stamps(), untouched
    return replace(clock, origin=stamp), untouched


def frames_of(
    stream: "VideoStream", packets: "Iterator[Packet]", high: float
) -> "Iterator[VideoFrame]":
    """All frames of the packets, which end where decoding time reaches ``high``."""
    for packet in packets:
        if is_behind(packet, high):
            break
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def by_decoding(source: Source) -> Decoded:
    """When the frames of the whole file appear that a source is of, by decoding it.

    Time stamps are believed where those of the frames that come ascend.

    Raises:
        DecodeError: the file cannot be used.
    """
    whole = replace(source, start=0.0, end=-1.0)
    return _by_decoding(whole, version_of(os.stat(source.path)))


class _Stamp(NamedTuple):
    """What is kept of a frame."""

    pts: int | None


# A file is asked about several times in a row: how many frames, and then which.
@lru_cache(maxsize=16)
def _by_decoding(whole: Source, version: tuple[int, int, int]) -> Decoded:
    del version
    with opened(whole) as (_, stream, packets):
        clock = clock_of_stream(stream)
        stamps = [_Stamp(frame.pts) for frame in frames_of(stream, packets, math.inf)]
        restarted = packets.restarts > 0
    if not stamps:
        raise DecodeError(f"{named(whole)}: no packet gives a frame")
    if _ascend([stamp.pts for stamp in stamps]) and stamps[0].pts is not None:
        clock = replace(clock, origin=stamps[0].pts)
    else:
        clock = clock.without_stamps()
    return Decoded(clock, [tick for _, tick in clock.ticks(stamps)], restarted)


def _ascend(stamps: list[int | None]) -> bool:
    """Whether those that there are do."""
    known = [stamp for stamp in stamps if stamp is not None]
    return all(one < other for one, other in itertools.pairwise(known))


def _inside(decoded: Decoded, clock: Clock, window: Window) -> int:
    return sum(window.holds(clock.seconds(tick)) for tick in decoded.ticks)
