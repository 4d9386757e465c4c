"""What a video file is, told by its packets; and whether all of it can be decoded."""

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ivn.data.container import DecodeError, Window, opened, video_streams
from ivn.data.contents import check_file, named, read_bytes
from ivn.data.decode import frames_in_order, route
from ivn.data.decode.orientation import orientation_of
from ivn.data.source import Source

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.video.stream import VideoStream


@dataclass(frozen=True)
class Facts:
    """Of a whole file, whatever part of it a source is.

    Attributes:
        width, height: of a frame as shown, in pixels.
        fps: frames a second, on average.
        frames: packets that show a frame.
        duration: seconds from when the first frame appears to when the last one goes.
        codec, pixel_format: by FFmpeg's names.
        rotation: degrees anticlockwise by which players turn the frames: 0, 90, 180 or 270.
        mirrored: whether players then exchange left and right.
        stream: which of the file's streams is the video, as FFmpeg counts: from 0.
        streams: how many could be, the pictures of covers apart.
        variable_rate: whether the time from frame to frame varies by more than rounding.
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
    variable_rate: bool
    keyframe_seconds: float
    bytes: int


def probe(source: Source) -> Facts:
    """Read all packets, and decode no more than the first frame.

    Raises:
        DecodeError: the file is missing, empty, no video, or truncated so that its packets show it.
    """
    whole = replace(source, start=0.0, end=-1.0)
    with opened(whole, Window()) as (container, stream, packets):
        first, seen = _walk(packets, stream)
        declared = stream.frames if "mp4" in container.format.name else 0
        if seen.packets < declared:
            raise DecodeError(
                f"{named(source)}: truncated, {seen.packets} of {declared} frames are there"
            )
        if first is None:
            raise DecodeError(f"{named(source)}: no packet gives a frame")
        context = stream.codec_context
        orientation = orientation_of(first)
        width, height = first.width, first.height
        if orientation.on_its_side:
            width, height = height, width
        times = np.sort(np.array(seen.times, np.float64)) * float(stream.time_base or 1)
        fps = _rate(times, float(stream.average_rate or stream.guessed_rate or 0))
        duration = float(times[-1] - times[0]) + (1 / fps if fps else 0.0) if len(times) else 0.0
        return Facts(
            width=width,
            height=height,
            fps=fps,
            frames=seen.shown,
            duration=duration,
            codec=context.codec.canonical_name,
            pixel_format=first.format.name,
            rotation=90 * orientation.turns,
            mirrored=orientation.mirrored,
            stream=stream.index,
            streams=len(video_streams(container)),
            variable_rate=_varies(times, float(stream.time_base or 0)),
            keyframe_seconds=duration / seen.keys if seen.keys else 0.0,
            bytes=source.size if source.member else os.path.getsize(source.path),
        )


@dataclass
class _Seen:
    """What the packets were: all, those that show a frame, key frames, time stamps in ticks."""

    packets: int
    shown: int
    keys: int
    times: list[int]


def _walk(packets: "Iterator[Packet]", stream: "VideoStream") -> "tuple[VideoFrame | None, _Seen]":
    first: VideoFrame | None = None
    seen = _Seen(0, 0, 0, [])
    for packet in packets:
        if packet.size == 0:
            continue
        seen.packets += 1
        if not packet.is_discard:
            seen.shown += 1
            seen.keys += packet.is_keyframe
            time = packet.dts if packet.pts is None else packet.pts
            if time is not None:
                seen.times.append(time)
        if first is None:
            first = next(iter(packet.decode()), None)
    if first is None:
        first = next(iter(stream.codec_context.decode(None)), None)
    return first, seen


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
