"""A video's frames as RGB: one request, several back ends, the same frames from each.

A request is a :class:`ivn.media.source.Source` (a file, or a member of a tar, and a window of time)
with a function that chooses among the frames which the window has. The answer is uint8
``[T, H, W, 3]``, RGB, upright. Back ends are modules with ``name``, ``available()``,
``claims(facts)`` and ``decode(source, choose)``; see :class:`ivn.media.decode.request.Backend`.
"""

import os
from collections.abc import Mapping

from torch import Tensor

from ivn.errors import DataError
from ivn.media.decode import dali, pyav, torchcodec
from ivn.media.decode.in_order import Shown, count_frames, frames_in_order
from ivn.media.decode.request import Backend, BackendName, Choose, as_source
from ivn.media.decode.route import route
from ivn.media.source import Source

__all__ = [
    "BACKENDS",
    "BackendName",
    "Shown",
    "count_frames",
    "decode",
    "frames_in_order",
    "route",
    "usable",
]

# PyAV takes over a file that another back end fails on, which is the file's fault. A back end that
# is not installed stops the run: the user's choice would be undone.
BACKENDS: Mapping[str, Backend] = {module.name: module for module in (pyav, torchcodec, dali)}


def decode(
    video: Source | str | os.PathLike[str],
    choose: Choose,
    *,
    start: float = 0.0,
    end: float = -1.0,
    backend: BackendName = "auto",
) -> Tensor:
    """Chosen frames of a video, uint8 ``[T, H, W, 3]``, RGB, upright.

    Args:
        video: a file, or a source: then the window is its own.
        choose: from the number of frames in the window to the ``T`` wanted frame numbers, in any
            order, repeats allowed, negative ones counted from the end. Called again with the
            true number where the decoder gives fewer frames than the file has packets.
        start, end: the window in seconds from the first frame; ``end`` -1 means all of it.
        backend: one of :data:`BACKENDS`; "auto" is PyAV.

    Frames that change size in mid-stream are scaled to the size of the window's first.

    Raises:
        DecodeError: the file is missing, empty, no video, truncated or damaged where it matters.
        DataError: the back end is not installed.
    """
    return usable(backend).decode(as_source(video, start, end), choose)


def usable(backend: BackendName) -> Backend:
    """The back end of this name.

    Raises:
        DataError: it is not installed, or does not load.
    """
    module = BACKENDS["pyav" if backend == "auto" else backend]
    if missing := module.available():
        raise DataError(f"{missing}; or set data.decoder=auto")
    return module
