"""The protocol of a decoding back end, and checks of the frames that a caller chooses."""

import os
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from torch import Tensor

from ivn.media.facts import Facts
from ivn.media.source import Source

BackendName = Literal["auto", "pyav", "torchcodec", "dali"]

# FFmpeg's field orders of progressive video: unknown, and progressive.
PROGRESSIVE = (0, 1)

# A function from the number of frames to the wanted frame numbers, in any order, repeats allowed,
# negative ones counted from the end.
Choose = Callable[[int], Sequence[int]]


class Backend(Protocol):
    """A module that decodes.

    Attributes:
        name: name in the config's ``data.decoder`` and in manifests.
    """

    name: str

    def available(self) -> str:
        """Returns "", or one line that says why the back end is unusable on this machine."""

    def claims(self, facts: Facts) -> str:
        """Returns "", or one line that says why the back end should not decode such a file."""

    def decode(self, source: Source, choose: Choose) -> Tensor:
        """Returns the chosen frames, see :func:`ivn.media.decode.decode`."""


def as_source(video: Source | str | os.PathLike[str], start: float, end: float) -> Source:
    """Returns the source itself, or one of a file and a window.

    Raises:
        ValueError: Both a source and a window are given.
    """
    if not isinstance(video, Source):
        return Source(os.fspath(video), start=start, end=end)
    if (start, end) != (0.0, -1.0):
        raise ValueError(f"start {start}, end {end}: a source has a window of its own")
    return video


def checked(numbers: Sequence[int], total: int) -> list[int]:
    """Returns the frame numbers, all counted from 0.

    Raises:
        ValueError: The video has no frame of a chosen number.
    """
    for number in numbers:
        if not -total <= number < total:
            raise ValueError(f"frame {number} was chosen, the video has {total}")
    return [int(number) % total for number in numbers]


def chosen(choose: Choose, total: int) -> list[int]:
    """Returns the chosen frame numbers; none where the choice is invalid.

    Inside :func:`ivn.media.container.opened` a ValueError counts as damage of the file: the caller
    makes an invalid choice again outside, where :func:`checked` raises.
    """
    try:
        return checked(choose(total), total)
    except ValueError:
        return []
