"""Reads the facts of a video file from its packets, decoding as little as possible."""

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
from ivn.media.storage import name_of

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class Facts:
    """Facts of a whole file, whichever part of it a source is.

    Attributes:
        width, height: pixels of a frame as it is shown.
        fps: average number of frames per second.
        frames: number of frames that the file shows.
        duration: seconds from the appearance of the first frame to the end of the last.
        codec, pixel_format: FFmpeg's names of both.
        rotation: angle by which players turn the frames, in degrees anticlockwise: 0, 90, 180 or
            270.
        mirrored: whether players then exchange left and right.
        stream: index of the video stream in the file, from 0.
        streams: number of video streams, cover pictures excepted.
        restarts: number of times that the file's clock jumps back, as where recordings were joined.
        variable_rate: whether the time between frames varies by more than rounding, or the file's
            clock jumps back.
        keyframe_seconds: mean time between key frames; 0 where none is marked.
        bytes: size of the file or of the member; 0 where the source does not know the member's
            size.
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
    """Reads all packets, and decodes the first frame, or all where packets do not tell their times.

    Raises:
        DecodeError: The file does not exist, is empty, no video, or truncated so that its packets
            show it.
    """
    whole = replace(source, start=0.0, end=-1.0)
    with read_window(whole, times=True, count=True) as reading:
        table, clock = reading.table, reading.clock
        tick = float(clock.base)
        ticks: Sequence[int | None]
        if not clock.trusted:
            ticks = range(table.count)
        elif table.trusted and table.exact:
            ticks = [table.times[number] for number in table.shown]
        else:
            ticks = by_decoding(whole).ticks
        times = np.array(ticks, np.float64) * tick
        fps = _rate(times, float(clock.rate))
        duration = float(times[-1] - times[0]) + 1 / fps
        # Only a decoded frame tells how players turn it.
        first, context = _first(whole, reading), reading.stream.codec_context
        orientation = orientation_of(first)
        width, height = first.width, first.height
        if orientation.on_its_side:
            width, height = height, width
        return Facts(
            width=width,
            height=height,
            fps=fps,
            frames=table.count,
            duration=duration,
            codec=context.codec.canonical_name,
            pixel_format=first.format.name,
            rotation=90 * orientation.turns,
            mirrored=orientation.mirrored,
            stream=reading.stream.index,
            streams=len(video_streams(reading.container)),
            restarts=table.restarts,
            variable_rate=table.restarts > 0 or _varies(times, tick),
            keyframe_seconds=duration / table.keys if table.keys else 0.0,
            bytes=source.size if source.member else os.path.getsize(source.path),
        )


def _first(whole: Source, reading: Reading) -> "VideoFrame":
    """Decodes the first frame that is shown."""
    if reading.table.held:
        for frame in frames_of(reading.stream, iter(reading.table.held), math.inf):
            return frame
    with opened_again(whole, reading) as (stream, packets):
        for frame in frames_of(stream, packets, math.inf):
            return frame
    raise DecodeError(f"{name_of(whole)}: no packet gives a frame")


def _rate(times: np.ndarray, declared: float) -> float:
    """Returns the declared frame rate, or the measured one where they differ by more than 1%."""
    span = float(times[-1] - times[0]) if len(times) > 1 else 0.0
    if span <= 0:
        return declared
    measured = (len(times) - 1) / span
    return declared if abs(measured - declared) < 0.01 * measured else measured


def _varies(times: np.ndarray, tick: float) -> bool:
    """Returns whether the steps between times differ by more than a tenth and by rounding."""
    steps = np.diff(times)
    if not len(steps):
        return False
    median = float(np.median(steps))
    # Rounding moves a time stamp by less than one tick, a step between two by less than two.
    return bool((np.abs(steps - median) > 0.1 * median + 2 * tick).any())
