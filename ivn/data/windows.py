"""Windows over a video of any length: decoded once, in order, in memory of one window.

T frames that the encoder sees, S their side. Frames are numbered as sampled: as they are in the
file, or at a rate of ours.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ivn.data.augment import centre_clip
from ivn.data.clip import ClipSpec
from ivn.data.contents import named
from ivn.data.decode import DecodeError, Shown, frames_in_order
from ivn.data.sampling import centre_frame_numbers
from ivn.data.source import Source

# A frame that is shown for longer: time stamps that jump, as in damaged recordings.
_LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Windows:
    """How a video is cut.

    Attributes:
        frames: of a window, as sampled.
        stride: frames from the start of a window to that of the next.
        fps: frames a second to sample; 0 takes the file's own frames.
    """

    frames: int
    stride: int
    fps: float = 0.0

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
        start, end: seconds from the start of the file: when its first frame appears, when its
            last one goes.
    """

    number: int
    clip: Tensor
    start: float
    end: float


def windows_of(
    source: Source, cuts: Windows, spec: ClipSpec, *, first: int = 0
) -> Iterator[Window]:
    """The windows of a video, in order.

    Of a window's frames the encoder sees T: the middle ones of T equal parts, all where there are
    T, some twice where there are fewer; the centre of each frame, resized. A window that would
    reach beyond the video's end is left out, but for the first: there the last frame is repeated.

    Args:
        source: the video, and the part of it.
        cuts: where the windows are.
        spec: what the encoder sees.
        first: number of the first window to give; frames before it are decoded, and no more.

    Raises:
        DecodeError: the file cannot be used; windows may have come before.
    """
    chosen = centre_frame_numbers(cuts.frames, spec.frames)
    offsets = {offset % cuts.stride for offset in chosen}
    number, count = first, 0
    kept: dict[int, _Frame] = {}
    latest: Shown | None = None
    for shown, start, end in _sampled(source, cuts.fps):
        index, count = count, count + 1
        if index < number * cuts.stride:
            continue
        latest = shown
        image = _image(shown, spec) if index % cuts.stride in offsets else None
        kept[index] = _Frame(image, start, end)
        if count == number * cuts.stride + cuts.frames:
            yield _window(kept, number, cuts, chosen)
            number += 1
            kept = {at: frame for at, frame in kept.items() if at >= number * cuts.stride}
    if number == 0 and latest is not None:
        last = _Frame(_image(latest, spec), kept[count - 1].start, kept[count - 1].end)
        kept |= dict.fromkeys(range(count, cuts.frames), last)
        yield _window(kept, number, cuts, chosen)


@dataclass(frozen=True)
class _Frame:
    """A frame as sampled; ``image`` uint8 ``[S, S, 3]``, None where no window looks at it."""

    image: Tensor | None
    start: float
    end: float


def _image(shown: Shown, spec: ClipSpec) -> Tensor:
    return centre_clip(shown.image()[None], spec.size)[0]


def _window(kept: dict[int, _Frame], number: int, cuts: Windows, chosen: list[int]) -> Window:
    start = number * cuts.stride
    images = [kept[start + offset].image for offset in chosen]
    clip = torch.stack([image for image in images if image is not None])
    return Window(number, clip, kept[start].start, kept[start + cuts.frames - 1].end)


def _sampled(source: Source, fps: float) -> Iterator[tuple[Shown, float, float]]:
    """The frames at ``fps``, with the seconds from when to when they are shown.

    At a time, the frame that a player would show: the last that has appeared.
    """
    last: Shown | None = None
    origin, count = 0.0, 0
    frames = frames_in_order(source)
    for shown in itertools.chain(frames, [None]):
        if last is None:
            origin = shown.time if shown is not None else 0.0
        else:
            until = last.time + 1 / last.rate if shown is None else max(shown.time, last.time)
            if until - last.time > _LONGEST_SECONDS:
                raise DecodeError(
                    f"{named(source)}: a frame at {last.time:.3f} s is shown until {until:.3f} s: "
                    "damaged time stamps"
                )
            if fps == 0:
                yield last, last.time, until
            else:
                while (time := origin + count / fps) < until - 1e-6:
                    yield last, time, time + 1 / fps
                    count += 1
        last = shown
