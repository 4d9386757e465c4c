"""What is asked of a back end, and what it may know of a file before it says whether it can."""

import os
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from torch import Tensor

from ivn.media.facts import Facts
from ivn.media.source import Source

BackendName = Literal["auto", "pyav", "torchcodec", "dali"]

# FFmpeg's numbers of the orders of fields: unknown, and none.
PROGRESSIVE = (0, 1)

# From the number of frames to the wanted frame numbers, in any order, repeats allowed, negative
# ones counted from the end.
Choose = Callable[[int], Sequence[int]]


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
        """See :func:`ivn.media.decode.decode`."""


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
