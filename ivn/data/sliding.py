"""Cuts a video of any length into windows of frames, by one decode, in memory of one window.

T frames that the encoder sees, S their side. Frames are numbered as sampled: all of the file, or at
a given rate.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ivn.data.batch import ClipSpec
from ivn.data.crop import centre_clip
from ivn.data.sampling.frames import centre_frame_numbers
from ivn.errors import DecodeError
from ivn.media.decode import TimedFrame, frames_in_order
from ivn.media.source import Source
from ivn.media.storage import name_of

Tail = Literal["drop", "cover"]

# A frame that is shown for longer is damage: a time stamp that jumps.
_MAX_FRAME_SECONDS = 3600.0


@dataclass(frozen=True)
class SlidingWindows:
    """The lengths and distances of the windows of a video.

    Attributes:
        frames: number of sampled frames in a window.
        stride: number of sampled frames from the start of a window to that of the next.
        fps: sampled frames per second; 0 samples every frame of the file.
        tail: "drop" ignores last frames that do not fill a window; "cover" adds a window that ends
            with the last frame, and so overlaps the one before it.
    """

    frames: int
    stride: int
    fps: float = 0.0
    tail: Tail = "drop"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1 or not 0 <= self.fps < float("inf"):
            raise ValueError(
                f"window {self.frames}, stride {self.stride}, {self.fps} frames a second: "
                "expected at least 1, at least 1, and 0 or more"
            )


@dataclass(frozen=True)
class FrameWindow:
    """A window of a video, as the encoder sees it.

    Attributes:
        number: number of the window in its video, from 0.
        clip: frames that the encoder sees, uint8 ``[T, S, S, 3]``.
        start, end: appearance of the window's first frame and end of its last, in seconds from the
            file's first frame.
        frames: number of sampled frames in the window, fewer than usual where the video is shorter.
        left: number of sampled frames after the video's last window that no window covers; 0 for
            all other windows.
    """

    number: int
    clip: Tensor
    start: float
    end: float
    frames: int
    left: int = 0


def sliding_windows(
    source: Source, windows: SlidingWindows, spec: ClipSpec, *, first: int = 0
) -> Iterator[FrameWindow]:
    """Yields the windows of a video, in order.

    The encoder sees T frames of a window, the middle ones of T equal parts (some twice where there
    are fewer), and of each frame the central square, resized. A window that would reach beyond the
    video's end is dropped, or moved back to end there, by ``windows.tail``. A video that is shorter
    than a window gives one window with all its frames.

    Args:
        source: video, or a part of it.
        windows: lengths and distances of the windows.
        spec: format of the encoder's clips.
        first: number of the first window to yield; frames before it are decoded and not resized.

    Raises:
        DecodeError: The file is unusable; windows may have come before.
    """
    offsets = {
        offset % windows.stride for offset in centre_frame_numbers(windows.frames, spec.frames)
    }
    # A last window that is moved back shares its first frames with the one before.
    back = windows.stride if windows.tail == "cover" else 0
    number, count = first, 0
    kept: dict[int, _Frame] = {}
    last: FrameWindow | None = None
    for frame, start, end in _sampled(source, windows.fps):
        index, count = count, count + 1
        if index < number * windows.stride - back:
            continue
        is_seen = index % windows.stride in offsets and index >= first * windows.stride
        kept[index] = _Frame(_image(frame, spec) if is_seen else None, start, end)
        if count == number * windows.stride + windows.frames:
            if last is not None:
                yield last
            last = _window(
                source, windows, spec, kept, number, number * windows.stride, windows.frames
            )
            number += 1
            kept = {at: one for at, one in kept.items() if at >= number * windows.stride - back}
    if number == 0 and count:
        yield _window(source, windows, spec, kept, 0, 0, count)
        return
    left = count - (number - 1) * windows.stride - max(windows.frames, windows.stride)
    moved_back = left > 0 and windows.tail == "cover"
    if last is not None:
        yield last if moved_back else replace(last, left=max(left, 0))
    if moved_back:
        yield _window(source, windows, spec, kept, number, count - windows.frames, windows.frames)


@dataclass(frozen=True)
class _Frame:
    """A sampled frame; ``image`` is uint8 ``[S, S, 3]``, or None where no window sees it."""

    image: Tensor | None
    start: float
    end: float


def _image(frame: TimedFrame, spec: ClipSpec) -> Tensor:
    return centre_clip(frame.image()[None], spec.size)[0]


def _window(
    source: Source,
    windows: SlidingWindows,
    spec: ClipSpec,
    kept: dict[int, _Frame],
    number: int,
    start: int,
    length: int,
) -> FrameWindow:
    """Returns the window of ``length`` frames from ``start`` on; ``kept`` has their times."""
    wanted = [start + offset for offset in centre_frame_numbers(length, spec.frames)]
    images = {at: kept[at].image for at in wanted}
    missing = {at for at, image in images.items() if image is None}
    if missing:
        # Only the video's end tells which frames these are, and memory cannot hold them all: decode
        # again.
        for index, (frame, *_) in enumerate(_sampled(source, windows.fps)):
            if index in missing:
                images[index] = _image(frame, spec)
            if index == max(missing):
                break
    clip = torch.stack([image for at in wanted if (image := images[at]) is not None])
    return FrameWindow(number, clip, kept[start].start, kept[start + length - 1].end, length)


def _sampled(source: Source, fps: float) -> Iterator[tuple[TimedFrame, float, float]]:
    """Yields the frames at ``fps``, with the times in seconds between which they are shown.

    At each time it is the frame that a player would show: the last that has appeared.
    """
    last: TimedFrame | None = None
    origin, count = 0.0, 0
    frames = frames_in_order(source)
    for frame in itertools.chain(frames, [None]):
        if last is None:
            origin = frame.time if frame is not None else 0.0
        else:
            until = last.time + 1 / last.rate if frame is None else max(frame.time, last.time)
            if until - last.time > _MAX_FRAME_SECONDS:
                raise DecodeError(
                    f"{name_of(source)}: a frame at {last.time:.3f} s is shown until "
                    f"{until:.3f} s: damaged time stamps"
                )
            if fps == 0:
                yield last, last.time, until
            else:
                while (time := origin + count / fps) < until - 1e-6:
                    yield last, time, time + 1 / fps
                    count += 1
        last = frame
