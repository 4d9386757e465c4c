"""Decodes a video's frames to RGB, with one of several back ends that give the same frames.

A request is a :class:`ivn.media.source.Source` (a file or a member of a tar, and a window of time)
with a function that chooses frames of the window. The result is uint8 ``[T, H, W, 3]``, RGB,
upright. Each back end is a :class:`ivn.media.decode.request.Backend`, described by its module.
"""

import os
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from ivn.errors import DataError
from ivn.media.decode import dali, pyav, torchcodec
from ivn.media.decode.in_order import TimedFrame, count_frames, frames_in_order
from ivn.media.decode.request import Backend, BatchBackend, Choose, as_source
from ivn.media.facts import Facts
from ivn.media.source import Source

__all__ = [
    "BACKENDS",
    "DEFAULT",
    "BackendName",
    "TimedFrame",
    "count_frames",
    "decode",
    "frames_in_order",
    "route",
    "usable",
]

DEFAULT = pyav.BACKEND
BACKENDS: dict[str, Backend] = {
    backend.name: backend for backend in (DEFAULT, torchcodec.BACKEND, dali.BACKEND)
}
if TYPE_CHECKING:
    BackendName = str
else:  # the choices of data.decoder
    BackendName = Literal[("auto", *BACKENDS)]


def decode(
    video: Source | str | os.PathLike[str],
    choose: Choose,
    *,
    start: float = 0.0,
    end: float = -1.0,
    backend: BackendName = "auto",
) -> Tensor:
    """Returns chosen frames of a video, uint8 ``[T, H, W, 3]``, RGB, upright.

    Args:
        video: a file, or a source, which has a window of its own.
        choose: function from the number of frames in the window to the ``T`` wanted frame numbers,
            in any order, repeats allowed, negative ones counted from the end. It is called again
            with the true number where the decoder gives fewer frames than the file has packets.
        start, end: window in seconds from the first frame; ``end`` -1 is the end of the file.
        backend: one of :data:`BACKENDS`; "auto" is PyAV.

    Frames that change size within a stream are scaled to the size of the window's first.

    Raises:
        DecodeError: The file does not exist, is empty, no video, truncated, or damaged where the
            chosen frames need it.
        DataError: The back end is not installed.
    """
    return usable(backend).decode(as_source(video, start, end), choose)


def usable(backend: BackendName) -> Backend:
    """Returns the back end of this name.

    Raises:
        DataError: The back end is not installed, or does not load.
    """
    found = DEFAULT if backend == "auto" else BACKENDS[backend]
    # PyAV takes over a file that a back end fails on, which is the file's fault. A back end that is
    # not installed stops the run: the user's choice would be undone.
    if reason := found.available():
        raise DataError(f"{reason}; or set data.decoder=auto")
    return found


def route(facts: Facts) -> str:
    """Returns the name of the back end that fits a file, which its row of a manifest keeps.

    It is the first back end for batches that takes such a file, otherwise PyAV. Decoding of whole
    batches follows the row. With ``data.decoder = "auto"`` PyAV decodes every file, so that no
    pixel depends on what is installed.
    """
    backends = (backend for backend in BACKENDS.values() if isinstance(backend, BatchBackend))
    return next((backend.name for backend in backends if not backend.claims(facts)), DEFAULT.name)
