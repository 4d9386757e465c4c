"""Views of a video: which frames of it, and which square of the frames.

Legend: V views, T frames, S side of a frame in pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from ivn.data.crop import Crop, cut, multi_scale_crop
from ivn.data.sampling.frames import frame_numbers
from ivn.errors import DataError
from ivn.keys import make_keys
from ivn.media.container import opened
from ivn.media.decode import decode
from ivn.media.source import Source

Shape = tuple[int, int]  # T and S of a clip

_HALF = Fraction(1, 2)
# Bytes of decoded frames held at a time; eight clips of 16 frames of 720p exceed it.
_BYTES_AT_ONCE = 2**28


@dataclass(frozen=True)
class View:
    """A fixed view of a video.

    The window is cut into T equal parts, and the clip has one frame of each: every clip spans the
    whole window at the same rate, as in training with sparse frames.

    Attributes:
        phase: position of the frame in each part, as a share of its length; 1/2 is the middle.
        position: place of the largest square along the longer side; 0 is the start, 1/2 the middle.
    """

    phase: Fraction = _HALF
    position: Fraction = _HALF

    @property
    def name(self) -> str:
        """Name of the view, the same in every grid."""
        return f"{self.phase} {self.position}"

    def frames(self, total: int, frames: int, source: Source) -> list[int]:
        """Returns the numbers of the clip's ``frames`` frames in a window of ``total``."""
        return [int((part + self.phase) * total / frames) for part in range(frames)]

    def crop(self, height: int, width: int, source: Source) -> Crop:
        """Returns the square of a frame."""
        side = min(height, width)
        return Crop(
            int((height - side) * self.position), int((width - side) * self.position), side, side
        )


@dataclass(frozen=True)
class RandomView:
    """A keyed random view: a random frame of each part, one of TSN's crops, never mirrored.

    It depends on the file's name and window alone, so that its features can be kept.

    Attributes:
        seed: seed of the draws.
        number: number of the view; views of different numbers are independent.
    """

    seed: int
    number: int

    @property
    def name(self) -> str:
        return f"random {self.seed} {self.number}"

    def frames(self, total: int, frames: int, source: Source) -> list[int]:
        return frame_numbers(total, frames, self._key(source))

    def crop(self, height: int, width: int, source: Source) -> Crop:
        return multi_scale_crop(height, width, self._key(source), flip=False)

    def _key(self, source: Source) -> Tensor:
        words = f"{Path(source.member or source.path).name} {source.start} {source.end}"
        digest = sha256(words.encode("utf-8", "surrogateescape")).digest()
        return make_keys(self.seed, self.number, [int.from_bytes(digest[:4], "big")])


AnyView = View | RandomView


def grid(clips: int, crops: int) -> list[View]:
    """Returns the views of ``clips`` clips, each in ``crops`` crops, clip by clip.

    Clip ``c`` of n shows the frame at ``(2 c + 1) / 2 n`` of each part of the window; crops lie
    evenly along the longer side, one in the middle. One clip of one crop is the view of inference.

    Raises:
        DataError: ``clips`` or ``crops`` is below 1.
    """
    if clips < 1 or crops < 1:
        raise DataError(f"{clips} clips x {crops} crops: expected at least 1 of each")
    positions = [Fraction(crop, crops - 1) if crops > 1 else _HALF for crop in range(crops)]
    return [
        View(Fraction(2 * clip + 1, 2 * clips), position)
        for clip in range(clips)
        for position in positions
    ]


def training_views(count: int, *, seed: int) -> list[AnyView]:
    """Returns the central view and ``count - 1`` keyed random ones.

    Raises:
        DataError: ``count`` is below 1.
    """
    if count < 1:
        raise DataError(f"{count} training views: expected at least 1")
    return [View(), *(RandomView(seed, number) for number in range(1, count))]


def read_views(
    source: Source, views: Sequence[AnyView], shapes: Iterable[Shape]
) -> dict[Shape, Tensor]:
    """Returns every view of a video in every shape, uint8 ``[V, T, S, S, 3]`` each.

    One pass over the file serves all views, unless their frames would not fit into 256 MB: then
    some views are read at a time.

    Raises:
        DecodeError: the file cannot be used.
    """
    shapes = sorted(set(shapes))
    out = {(T, S): torch.empty(len(views), T, S, S, 3, dtype=torch.uint8) for T, S in shapes}
    together = max(1, _BYTES_AT_ONCE // (_frame_bytes(source) * sum({T for T, _ in shapes})))
    for start in range(0, len(views), together):
        some = range(start, min(start + together, len(views)))
        slots: dict[tuple[int, int], list[int]] = {}

        def choose(total: int, some: range = some, slots: dict = slots) -> list[int]:
            wanted = {
                (number, T): views[number].frames(total, T, source)
                for number in some
                for T in {T for T, _ in shapes}
            }
            distinct = sorted({frame for frames in wanted.values() for frame in frames})
            slot_of = {frame: slot for slot, frame in enumerate(distinct)}
            slots.clear()
            slots.update({key: [slot_of[f] for f in frames] for key, frames in wanted.items()})
            return distinct

        video = decode(source, choose)
        for number in some:
            crop = views[number].crop(video.shape[1], video.shape[2], source)
            for T, S in shapes:
                out[T, S][number] = cut(video[slots[number, T]], crop, S)
    return out


def _frame_bytes(source: Source) -> int:
    with opened(source) as (_, stream, _):
        return max(1, 3 * stream.width * stream.height)
