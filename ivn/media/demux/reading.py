"""Reads the packets of a video's window and finds when its frames appear.

Time stamps are trusted where the headers of pictures confirm their order. Where headers do not tell
the order, the whole file is decoded, and the order of the decoded frames decides.
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
from ivn.media.container import PacketStream, TimeWindow, begin_near, opened, window_of
from ivn.media.demux.bitstream import picture_reader
from ivn.media.demux.clock import Clock, clock_of_stream
from ivn.media.demux.order import order_reader
from ivn.media.demux.packets import PacketTable, check_count, is_after, read_packets
from ivn.media.source import Source
from ivn.media.storage import name_of, version_of

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

# The frames of one request are not enough to trust time stamps: a few can agree by chance.

# Limit of packets that are searched for the first frame that is shown.
_HEAD = 32

# Frames that are compared where decoding begins inside a group of pictures: where references are
# missing, a decoder of MPEG-4 may give a frame twice, the first time too early.
_FIRST = 4


@dataclass(frozen=True)
class Reading:
    """The packets of a window, with the file still open.

    Attributes:
        container, stream: open file, as from :func:`ivn.media.container.opened`.
        table: facts of the packets.
        clock: clock that gives the time of each frame.
        near: time stamp near which the packets begin; None where they begin with the file's first.
    """

    container: "InputContainer"
    stream: "VideoStream"
    table: PacketTable
    clock: Clock
    near: float | None


@dataclass(frozen=True)
class Decoded:
    """The frames of a whole file as decoding gives them, without their pixels.

    Attributes:
        clock: clock of the ticks.
        ticks: time at which each frame appears, in ticks of the clock.
        restarted: whether the file's clock jumps back.
    """

    clock: Clock
    ticks: list[int]
    restarted: bool


@contextmanager
def read_window(
    source: Source, *, times: bool = False, count: bool = False, content: bytes = b""
) -> Iterator[Reading]:
    """Reads the packets of a source's window; their file is open inside the ``with`` block.

    Args:
        source: video and window.
        times: whether the clock must be certain; it always is for a part of a video.
        count: whether the number of frames must be certain.
        content: bytes of the file, where they have been read already.

    Raises:
        DecodeError: The file is unusable, as in :func:`ivn.media.container.opened` and
            :func:`ivn.media.demux.packets.read_packets`, or its window has no frames.
    """
    window, name = window_of(source), name_of(source)
    times = times or window != TimeWindow()
    clock: Clock | None = None
    decoded: Decoded | None = None
    seek = True
    while True:
        with opened(source, content=content) as (container, stream, packets):
            if clock is None:
                clock = clock_of_stream(stream)
                if window != TimeWindow():
                    clock, is_fresh = _with_origin(clock, stream, packets)
                    if not is_fresh:
                        continue
            near = clock.near(window) if seek else None
            if near is not None:
                nearby = begin_near(container, stream, packets, near)
                seek = nearby is not None
                if nearby is None:
                    continue
                packets = nearby
            table = read_packets(name, container, stream, packets, window, clock)
            clock = table.clock or clock
            if decoded is not None:
                table = replace(table, count=_count_inside(decoded, clock, window))
            if near is not None and table.restarts:
                seek = False  # only reading from the start shows how often the clock jumped before
                continue
            trusted = table.trusted if times and clock.trusted else True
            unknown = trusted is None or (count and not table.exact)
            if decoded is not None or (trusted and not unknown):
                check_count(name, table.count, window)
                yield Reading(container, stream, table, clock, near)
                return
        if unknown:
            decoded = by_decoding(source)
            clock, seek = decoded.clock, not decoded.restarted
        else:
            clock = clock.without_stamps()


@contextmanager
def opened_again(
    source: Source, reading: Reading
) -> Iterator[tuple["VideoStream", Iterator["Packet"]]]:
    """Opens the file of a reading again, to decode the same packets from the first one on.

    Raises:
        DecodeError: The file is unusable, as in :func:`ivn.media.container.opened`.
    """
    with opened(source) as (container, stream, packets):
        wanted: PacketStream | None = packets
        if reading.near is not None:
            wanted = begin_near(container, stream, packets, reading.near)
        if wanted is None:
            raise DecodeError(f"{name_of(source)}: the file changed while it was read")
        yield stream, wanted


def _with_origin(clock: Clock, stream: "VideoStream", packets: PacketStream) -> tuple[Clock, bool]:
    """Returns the clock with the time stamp of the first frame that is shown as its origin.

    Also returns whether all packets are still to come and the decoder is unused. That is so where
    the first packet is a picture that needs no other, and no later packet is shown before it.
    """
    read_picture, read_order = picture_reader(stream), order_reader(stream)
    head: list[Packet] = []
    for packet in packets:
        head.append(packet)
        first = head[0].pts
        if first is None or len(head) == _HEAD or (packet.dts is not None and packet.dts > first):
            break
    packets.give_back(head)
    orders = [read_order(bytes(packet)) for packet in head] if read_order is not None else [None]
    known = [order for order in orders if order is not None]
    is_first = len(known) == len(orders) > 0 and known[0] == min(known) and not head[0].is_discard
    if (
        is_first
        and head[0].is_keyframe
        and (read_picture is None or read_picture(bytes(head[0])).entry_point)
    ):
        stamp, is_fresh = head[0].pts, True
    else:
        frames = itertools.islice(frames_of(stream, packets, math.inf), _FIRST)
        stamps = [frame.pts for frame in frames]
        stamp, is_fresh = stamps[0] if stamps and _ascend(stamps) else None, False
    if stamp is None:
        return clock.without_stamps(), is_fresh
    return replace(clock, origin=stamp), is_fresh


def frames_of(
    stream: "VideoStream", packets: "Iterator[Packet]", high: float
) -> "Iterator[VideoFrame]":
    """Decodes all frames of the packets before the one whose decoding time reaches ``high``."""
    for packet in packets:
        if is_after(packet, high):
            break
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def by_decoding(source: Source) -> Decoded:
    """Finds when the frames of a source's whole file appear, by decoding it.

    Time stamps are trusted where those of the decoded frames ascend.

    Raises:
        DecodeError: The file is unusable.
    """
    whole = replace(source, start=0.0, end=-1.0)
    return _by_decoding(whole, version_of(os.stat(source.path)))


class _Stamp(NamedTuple):
    """The time stamp of a decoded frame, without its pixels."""

    pts: int | None


# Callers ask twice in a row: how many frames a file has, and then for some of them.
@lru_cache(maxsize=16)
def _by_decoding(whole: Source, version: tuple[int, int, int]) -> Decoded:
    del version
    with opened(whole) as (_, stream, packets):
        clock = clock_of_stream(stream)
        stamps = [_Stamp(frame.pts) for frame in frames_of(stream, packets, math.inf)]
        restarted = packets.restarts > 0
    if not stamps:
        raise DecodeError(f"{name_of(whole)}: no packet gives a frame")
    if _ascend([stamp.pts for stamp in stamps]) and stamps[0].pts is not None:
        clock = replace(clock, origin=stamps[0].pts)
    else:
        clock = clock.without_stamps()
    return Decoded(clock, [tick for _, tick in clock.ticks(stamps)], restarted)


def _ascend(stamps: list[int | None]) -> bool:
    """Returns whether the stamps that are not None ascend strictly."""
    known = [stamp for stamp in stamps if stamp is not None]
    return all(earlier < later for earlier, later in itertools.pairwise(known))


def _count_inside(decoded: Decoded, clock: Clock, window: TimeWindow) -> int:
    return sum(window.holds(clock.seconds(tick)) for tick in decoded.ticks)
