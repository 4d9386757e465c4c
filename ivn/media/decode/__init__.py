"""Decodes a video's frames to RGB, with one of several back ends that give the same frames.

A request is a :class:`ivn.media.source.Source` (a file or a member of a tar, and a window of time)
with a function that chooses frames of the window. The result is uint8 ``[T, H, W, 3]``, RGB,
upright. Each back end is a module that :class:`ivn.media.decode.request.Backend` describes.
"""

import os
from collections.abc import Mapping

from torch import Tensor

from ivn.errors import DataError
from ivn.media.decode import dali, pyav, torchcodec
from ivn.media.decode.in_order import TimedFrame, count_frames, frames_in_order
from ivn.media.decode.request import Backend, BackendName, Choose, as_source
from ivn.media.decode.route import route
from ivn.media.source import Source

__all__ = [
    "BACKENDS",
    "BackendName",
    "TimedFrame",
    "count_frames",
    "decode",
    "frames_in_order",
    "route",
    "usable",
]

BACKENDS: Mapping[str, Backend] = {module.name: module for module in (pyav, torchcodec, dali)}


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
    module = BACKENDS["pyav" if backend == "auto" else backend]
    # PyAV takes over a file that a back end fails on, which is the file's fault. A back end that is
    # not installed stops the run: the user's choice would be undone.
    if reason := module.available():
        raise DataError(f"{reason}; or set data.decoder=auto")
    return module
