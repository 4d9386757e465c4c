"""Converts a frame's pixels to RGB, with chroma at its true position.

For 8 bits and even sides, as nearly all videos have, FFmpeg has a fast conversion, the same in all
its versions, that gives each block of 2 x 2 pixels one colour. For others chroma is interpolated;
docs/data.md has the difference from what was encoded.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph
    from av.video.plane import VideoPlane


class ToRgb:
    """A converter to RGB, which keeps its set-up for the next frame of the same kind."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._padding: Padding | None = None

    def __call__(self, frame: "VideoFrame", width: int, height: int) -> np.ndarray:
        """Returns the frame as uint8 ``[height, width, 3]``, scaled where it has another size."""
        step_x, step_y = _steps(frame)
        ragged = bool(frame.width % step_x or frame.height % step_y)
        deep = frame.format.components[0].bits > 8
        if (step_x, step_y) == (1, 1) or not (ragged or deep):
            return self._reformatted(frame, width, height, _shared_chroma())
        if not ragged or (frame.width, frame.height) != (width, height):
            return self._reformatted(frame, width, height, _interpolated_chroma())
        if self._padding is None or not self._padding.fits(frame):
            self._padding = Padding(frame, step_x, step_y)
        padded = self._padding(frame)
        image = self._reformatted(padded, padded.width, padded.height, _interpolated_chroma())
        return image[:height, :width]

    def _reformatted(
        self, frame: "VideoFrame", width: int, height: int, interpolation: int
    ) -> np.ndarray:
        # One thread, since every worker has a core.
        return self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=interpolation, threads=1
        ).to_ndarray()


class Padding:
    """A filter that pads frames of one size and format until the last block of chroma is whole.

    Without it, swscale stretches 48 columns of chroma over 95 pixels, which belong to 96 pixels.
    """

    def __init__(self, frame: "VideoFrame", step_x: int, step_y: int) -> None:
        self._kind = frame.width, frame.height, frame.format.name
        width, height = (
            -(-side // step) * step
            for side, step in ((frame.width, step_x), (frame.height, step_y))
        )
        self._graph = _padding_graph(frame, width, height)

    def fits(self, frame: "VideoFrame") -> bool:
        """Returns whether the frame has that size and format."""
        return self._kind == (frame.width, frame.height, frame.format.name)

    def __call__(self, frame: "VideoFrame") -> "VideoFrame":
        """Returns a padded copy with the same position of chroma."""
        self._graph.push(frame)
        padded: VideoFrame = self._graph.pull()  # type: ignore[assignment]
        # The filter also overwrites the incomplete blocks of chroma. Alpha is not used.
        for target, plane in zip(padded.planes[:3], frame.planes[:3], strict=True):
            size = min(target.line_size, plane.line_size)
            _lines(target)[: plane.height, :size] = _lines(plane)[: plane.height, :size]
        return padded


def _lines(plane: "VideoPlane") -> np.ndarray:
    """Returns a plane's bytes as ``[lines, bytes of a line]``."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)


def _steps(frame: "VideoFrame") -> tuple[int, int]:
    """Returns the pixels per sample of chroma, horizontally and vertically."""
    if frame.format.is_rgb or len(frame.planes) < 3:
        return 1, 1
    return 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)


def _padding_graph(frame: "VideoFrame", width: int, height: int) -> "Graph":
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    pad, sink = graph.add("pad", f"{width}:{height}"), graph.add("buffersink")
    source.link_to(pad)
    pad.link_to(sink)
    graph.configure()
    return graph


def _shared_chroma() -> int:
    """Returns the flags for one colour per block of pixels."""
    from av.video.reformatter import Interpolation

    return Interpolation.BILINEAR


def _interpolated_chroma() -> int:
    """Returns the flags for interpolated chroma: without ACCURATE_RND, 8 bits share a colour."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND
