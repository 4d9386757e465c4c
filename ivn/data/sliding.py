"""Windows over a video of any length: decoded once, in order, in memory of one window.

T frames that the encoder sees, S their side. Frames are numbered as sampled: as they are in the
file, or at a rate of ours.
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

# A frame that is shown for longer: time stamps that jump, as in damaged recordings.
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Windows:
    """How a video is cut.

    Attributes:
        frames: of a window, as sampled.
        stride: frames from the start of a window to that of the next.
        fps: frames a second to sample; 0 takes the file's own frames.
        tail: "drop" leaves out the last frames that do not fill a window; "cover" adds one that
            ends with the last frame, and so overlaps the one before it.
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
class Window:
    """A part of a video.

    Attributes:
        number: of the window in its video, from 0.
        clip: uint8 ``[T, S, S, 3]``, what the encoder sees of it.
        start, end: seconds from the file's first frame: when the window's first frame appears, when
            its last one goes.
        frames: of the video, as sampled, that it spans; fewer than asked for where the video is
            shorter.
        left: frames, as sampled, behind the video's last window that no window covers; 0 of all
            others.
    """

    number: int
    clip: Tensor
    start: float
    end: float
    frames: int
    left: int = 0


def windows_of(
    source: Source, cuts: Windows, spec: ClipSpec, *, first: int = 0
) -> Iterator[Window]:
    """The windows of a video, in order.

    Of a window's frames the encoder sees T: the middle ones of T equal parts, all where there are
    T, some twice where there are fewer; the centre of each frame, resized. A window that would
    reach beyond the video's end is left out, or moved back to end there, by ``cuts.tail``. A video
    that is shorter than a window gives one of the frames that it has: T of these are seen in the
    same way, spread over all of them.

    Args:
        source: the video, and the part of it.
        cuts: where the windows are.
        spec: what the encoder sees.
        first: number of the first window to give; frames before it are decoded, and no more.

    Raises:
        DecodeError: the file cannot be used; windows may have come before.
    """
    offsets = {offset % cuts.stride for offset in centre_frame_numbers(cuts.frames, spec.frames)}
    # Of a last window that is moved back, the first frames are in the one before.
    back = cuts.stride if cuts.tail == "cover" else 0
    number, count = first, 0
    kept: dict[int, _Frame] = {}
    last: Window | None = None
    for shown, start, end in _sampled(source, cuts.fps):
        index, count = count, count + 1
        if index < number * cuts.stride - back:
            continue
        looked_at = index % cuts.stride in offsets and index >= first * cuts.stride
        kept[index] = _Frame(_image(shown, spec) if looked_at else None, start, end)
        if count == number * cuts.stride + cuts.frames:
            if last is not None:
                yield last
            last = _window(source, cuts, spec, kept, number, number * cuts.stride, cuts.frames)
            number += 1
            kept = {at: frame for at, frame in kept.items() if at >= number * cuts.stride - back}
    if number == 0 and count:
        yield _window(source, cuts, spec, kept, 0, 0, count)
        return
    left = count - (number - 1) * cuts.stride - max(cuts.frames, cuts.stride)
    moved_back = left > 0 and cuts.tail == "cover"
    if last is not None:
        yield last if moved_back else replace(last, left=max(left, 0))
    if moved_back:
        yield _window(source, cuts, spec, kept, number, count - cuts.frames, cuts.frames)


@dataclass(frozen=True)
class _Frame:
    """A frame as sampled; ``image`` uint8 ``[S, S, 3]``, None where no window looks at it."""

    image: Tensor | None
    start: float
    end: float


def _image(shown: TimedFrame, spec: ClipSpec) -> Tensor:
    return centre_clip(shown.image()[None], spec.size)[0]


def _window(
    source: Source,
    cuts: Windows,
    spec: ClipSpec,
    kept: dict[int, _Frame],
    number: int,
    start: int,
    length: int,
) -> Window:
    """The window of ``length`` frames that begins with frame ``start``; ``kept`` has its times."""
    wanted = [start + offset for offset in centre_frame_numbers(length, spec.frames)]
    images = {at: kept[at].image for at in wanted}
    missing = {at for at, image in images.items() if image is None}
    if missing:
        # Which these are is known at the video's end alone, and all would not fit into memory.
        for index, (shown, *_) in enumerate(_sampled(source, cuts.fps)):
            if index in missing:
                images[index] = _image(shown, spec)
            if index == max(missing):
                break
    clip = torch.stack([image for at in wanted if (image := images[at]) is not None])
    return Window(number, clip, kept[start].start, kept[start + length - 1].end, length)


def _sampled(source: Source, fps: float) -> Iterator[tuple[TimedFrame, float, float]]:
    """The frames at ``fps``, with the seconds from when to when they are shown.

    At a time, the frame that a player would show: the last that has appeared.
    """
    last: TimedFrame | None = None
    origin, count = 0.0, 0
    frames = frames_in_order(source)
    for shown in itertools.chain(frames, [None]):
        if last is None:
            origin = shown.time if shown is not None else 0.0
        else:
            until = last.time + 1 / last.rate if shown is None else max(shown.time, last.time)
            if until - last.time > _LONGEST_SECONDS:
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
        last = shown
