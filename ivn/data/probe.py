"""What a video file is, told by its packets; and whether all of it can be decoded."""

import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ivn.data.container import video_streams
from ivn.data.contents import check_file, named, read_bytes
from ivn.data.decode import frames_in_order, route
from ivn.data.decode.orientation import orientation_of
from ivn.data.decode.reading import Reading, by_decoding, frames_of, opened_again, read_window
from ivn.data.source import Source
from ivn.errors import DecodeError

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


def probe(source: Source) -> Facts:
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


def hash_of(source: Source) -> str:
    """``sha256:`` and the digest of the file's bytes, or the member's, hexadecimal.

    Raises:
        DecodeError: the file or the member is not there, or none.
        OSError: the file cannot be read.
    """
    if source.member:
        return f"sha256:{hashlib.sha256(read_bytes(source)).hexdigest()}"
    check_file(named(source), source.path)  # a pipe would be waited for, a device has no end
    with open(source.path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def check_one(source: Source, seconds: float) -> str:
    """Decode every frame that a clip of the source could ask for; "" or why one cannot be had.

    Args:
        source: the file and its window.
        seconds: that it may take.
    """
    began, name = time.monotonic(), named(source)
    try:
        for number, shown in enumerate(frames_in_order(source)):
            if number == 0:
                shown.image()
            if time.monotonic() - began > seconds:
                return f"not decoded in {seconds:g} s"
    except DecodeError as error:
        return str(error).removeprefix(f"{name}: ")
    return ""


@dataclass(frozen=True)
class Look:
    """A function for other processes: what is known of a file, as columns of its row.

    Attributes:
        facts: read its packets.
        hashed: read all of its bytes.
    """

    facts: bool
    hashed: bool

    def __call__(self, source: Source) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.facts:
            facts = probe(source)
            found = asdict(facts) | {"decoder": route(facts)}
        return found | ({"hash": hash_of(source)} if self.hashed else {})


@dataclass(frozen=True)
class DecodeAll:
    """A function for other processes: why not all frames of a source can be had."""

    seconds: float

    def __call__(self, source: Source) -> str:
        return check_one(source, self.seconds)
