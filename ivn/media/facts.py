"""What a video file is, told by its packets; and whether all of it can be decoded."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ivn.errors import DecodeError
from ivn.media.container import video_streams
from ivn.media.demux.reading import Reading, by_decoding, frames_of, opened_again, read_window
from ivn.media.orientation import orientation_of
from ivn.media.source import Source
from ivn.media.storage import named

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class Facts:
    """Of a whole file, whatever part of it a source is.

    Attributes:
        width, height: of a frame as shown, in pixels.
        fps: frames a second, on average.
        frames: that the file shows.
        duration: seconds from when the first frame appears to when the last one goes.
        codec, pixel_format: by FFmpeg's names.
        rotation: degrees anticlockwise by which players turn the frames: 0, 90, 180 or 270.
        mirrored: whether players then exchange left and right.
        stream: which of the file's streams is the video, as FFmpeg counts: from 0.
        streams: how many could be, the pictures of covers apart.
        restarts: how often the file's clock jumps back, as where recordings were joined.
        variable_rate: whether the time from frame to frame varies by more than rounding, or the
            file's clock jumps back.
        keyframe_seconds: mean time between key frames; 0 where none is marked.
        bytes: of the file, or of the member; 0 where the source does not know its place.
    """

    width: int
    height: int
    fps: float
    frames: int
    duration: float
    codec: str
    pixel_format: str
    rotation: int
    mirrored: bool
    stream: int
    streams: int
    restarts: int
    variable_rate: bool
    keyframe_seconds: float
    bytes: int


def read_facts(source: Source) -> Facts:
    """Read all packets, and decode the first frame, or all where packets do not tell.

    Raises:
        DecodeError: the file is missing, empty, no video, or truncated so that its packets show it.
    """
    whole = replace(source, start=0.0, end=-1.0)
    with read_window(whole, times=True, count=True) as read:
        found, clock = read.found, read.clock
        tick = float(clock.base)
        ticks: Sequence[int | None]
        if not clock.believed:
            ticks = range(found.count)
        elif found.believed and found.exact:
            ticks = [found.times[number] for number in found.shown]
        else:
            ticks = by_decoding(whole).ticks
        times = np.array(ticks, np.float64) * tick
        fps = _rate(times, float(clock.rate))
        duration = float(times[-1] - times[0]) + 1 / fps
        first, context = _first(whole, read), read.stream.codec_context
        orientation = orientation_of(first)
        # It takes a decoded frame: nothing else tells how players turn the video.
        width, height = first.width, first.height
        if orientation.on_its_side:
            width, height = height, width
        return Facts(
            width=width,
            height=height,
            fps=fps,
            frames=found.count,
            duration=duration,
            codec=context.codec.canonical_name,
            pixel_format=first.format.name,
            rotation=90 * orientation.turns,
            mirrored=orientation.mirrored,
            stream=read.stream.index,
            streams=len(video_streams(read.container)),
            restarts=found.restarts,
            variable_rate=found.restarts > 0 or _varies(times, tick),
            keyframe_seconds=duration / found.keys if found.keys else 0.0,
            bytes=source.size if source.member else os.path.getsize(source.path),
        )


def _first(whole: Source, read: Reading) -> "VideoFrame":
    """The first frame that is shown."""
    if read.found.held:
        for frame in frames_of(read.stream, iter(read.found.held), math.inf):
            return frame
    with opened_again(whole, read) as (stream, packets):
        for frame in frames_of(stream, packets, math.inf):
            return frame
    raise DecodeError(f"{named(whole)}: no packet gives a frame")


def _rate(times: np.ndarray, declared: float) -> float:
    """As the container says, but for those whose time stamps say something else."""
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    if span <= 0:
        return declared
    measured = (len(times) - 1) / span
    return declared if abs(measured - declared) < 0.01 * measured else measured


def _varies(times: np.ndarray, tick: float) -> bool:
    steps = np.diff(times)
    if not len(steps):
        return False
    usual = float(np.median(steps))
    # A time stamp is off by less than a tick, a step between two by less than two.
    return bool((np.abs(steps - usual) > 0.1 * usual + 2 * tick).any())
