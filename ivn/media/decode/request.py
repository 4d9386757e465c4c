"""The description of a decoding back end, and checks of the frames that a caller chooses."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ivn.errors import DecodeError
from ivn.media.facts import Facts
from ivn.media.source import Source

# FFmpeg's field orders of progressive video: unknown, and progressive.
PROGRESSIVE = (0, 1)

# A function from the number of frames to the wanted frame numbers, in any order, repeats allowed,
# negative ones counted from the end.
Choose = Callable[[int], Sequence[int]]


class ClipRequest(NamedTuple):
    """A wanted clip.

    Attributes:
        source: video and window.
        choose: choice of its frames, see :func:`ivn.media.decode.decode`.
    """

    source: Source
    choose: Choose


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A library that decodes.

    Attributes:
        name: name in the config's ``data.decoder`` and in manifests.
        library: name of the library, as its authors write it.
        module: module whose import shows that the library works.
        package: name of the library's package, whose version ``ivn doctor`` prints.
        fix: command that installs the library.
        decode: function that returns the chosen frames, see :func:`ivn.media.decode.decode`.
    """

    name: str
    library: str
    module: str
    package: str
    fix: str
    decode: Callable[[Source, Choose], Tensor]

    def available(self) -> str:
        """Returns "", or one line that says why the back end is unusable on this machine."""
        try:
            importlib.import_module(self.module)
        except ImportError:
            return f"{self.library} is not installed: {self.fix}"
        except (OSError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            return f"{self.library} does not load ({reason}): {self.fix}"
        return ""


class BatchDecoder(Protocol):
    """A decoder of batches into the memory of a device."""

    def decode(self, requests: Sequence[ClipRequest]) -> list[Tensor | DecodeError]:
        """Returns the frames of each request, uint8 ``[T, H, W, 3]`` there, or its error."""

    def close(self) -> None:
        """Frees the decoder."""


class OpenDecoder(Protocol):
    """A function that starts a decoder of batches."""

    def __call__(self, *, device: torch.device, batch_size: int, threads: int) -> BatchDecoder:
        """Returns a decoder.

        Args:
            device: device of the frames.
            batch_size: largest number of requests at a time.
            threads: number of CPU threads.
        """


@dataclass(frozen=True, kw_only=True)
class BatchBackend(Backend):
    """A library that decodes whole batches on the device that uses them.

    Attributes:
        claims: function that returns "", or one line that says why the library should not decode a
            file with such facts.
        open: function that starts a decoder.
    """

    claims: Callable[[Facts], str]
    open: OpenDecoder


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
