"""What is asked of a back end, and what it may know of a file before it says whether it can."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from torch import Tensor

from ivn.data.container import Window
from ivn.data.source import Source

BackendName = Literal["auto", "pyav", "torchcodec", "dali"]

# FFmpeg's numbers of the orders of fields: unknown, and none.
PROGRESSIVE = (0, 1)

# From the number of frames to the wanted frame numbers, in any order, repeats allowed, negative
# ones counted from the end.
Choose = Callable[[int], Sequence[int]]


class Facts(Protocol):
    """What packets and headers tell of a video; see :mod:`ivn.data.probe`."""

    @property
    def codec(self) -> str:
        """FFmpeg's name."""

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name."""

    @property
    def width(self) -> int:
        """As shown."""

    @property
    def height(self) -> int:
        """As shown."""

    @property
    def rotation(self) -> int:
        """Degrees anticlockwise."""

    @property
    def mirrored(self) -> bool:
        """Whether left and right are exchanged after turning."""

    @property
    def streams(self) -> int:
        """How many could be the video."""

    @property
    def variable_rate(self) -> bool:
        """Whether frames are shown for different times."""

    @property
    def keyframe_seconds(self) -> float:
        """Mean time from key frame to key frame; 0 is unknown."""


class Backend(Protocol):
    """A module that decodes.

    Attributes:
        name: by which it is asked for.
    """

    name: str

    def available(self) -> str:
        """ "", or why it cannot be used on this machine, in a line."""

    def claims(self, facts: Facts) -> str:
        """ "", or why it cannot or should not decode such a file, in a line."""

    def decode(self, source: Source, choose: Choose) -> Tensor:
        """See :func:`ivn.data.decode.decode`."""


def as_source(video: Source | str | os.PathLike[str], start: float, end: float) -> Source:
    """The source, or that of a file and a window.

    Raises:
        ValueError: a source and a window.
    """
    if not isinstance(video, Source):
        return Source(os.fspath(video), start=start, end=end)
    if (start, end) != (0.0, -1.0):
        raise ValueError(f"start {start}, end {end}: a source has a window of its own")
    return video


def window_of(source: Source) -> Window:
    """Its window in time."""
    return Window(source.start, math.inf if source.end < 0 else source.end)


def checked(numbers: Sequence[int], total: int) -> list[int]:
    """The same as numbers from 0 up.

    Raises:
        ValueError: one is not in the video.
    """
    for number in numbers:
        if not -total <= number < total:
            raise ValueError(f"frame {number} was chosen, the video has {total}")
    return [int(number) % total for number in numbers]


def asked(choose: Choose, total: int) -> list[int]:
    """What is chosen, or nothing where the choice is not one: to be made again, and refused.

    For where an error of the caller's would be taken for one of the file.
    """
    try:
        return checked(choose(total), total)
    except ValueError:
        return []
