"""A frame's pixels as RGB, with the chroma where it belongs.

Of 8 bits and even sides, which nearly all videos have, FFmpeg has a fast way that gives each block
of 2 x 2 pixels one colour, and that all its versions share. Elsewhere chroma is interpolated; see
docs/data.md for how near that comes to what was encoded.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph


class ToRgb:
    """Converts frames one after another; what it has set up for one serves the next of its kind."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._padding: Padding | None = None

    def __call__(self, frame: "VideoFrame", width: int, height: int) -> np.ndarray:
        """uint8 ``[height, width, 3]``: the frame, scaled where it has another size."""
        step_x, step_y = _steps(frame)
        ragged = bool(frame.width % step_x or frame.height % step_y)
        deep = frame.format.components[0].bits > 8
        if (step_x, step_y) == (1, 1) or not (ragged or deep):
            return self._reformatted(frame, width, height, _fast())
        if not ragged or (frame.width, frame.height) != (width, height):
            return self._reformatted(frame, width, height, _near())
        if self._padding is None or not self._padding.fits(frame):
            self._padding = Padding(frame, step_x, step_y)
        whole = self._padding(frame)
        return self._reformatted(whole, whole.width, whole.height, _near())[:height, :width]

    def _reformatted(
        self, frame: "VideoFrame", width: int, height: int, interpolation: int
    ) -> np.ndarray:
        # One thread: every worker has a core.
        return self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation=interpolation, threads=1
        ).to_ndarray()


class Padding:
    """Frames of one size and format widened until the last block of chroma is whole.

    Swscale would stretch the chroma of 48 columns over 95 pixels, where it is that of 96.
    """

    def __init__(self, frame: "VideoFrame", step_x: int, step_y: int) -> None:
        self._kind = frame.width, frame.height, frame.format.name
        width, height = (
            -(-side // step) * step
            for side, step in ((frame.width, step_x), (frame.height, step_y))
        )
        self._graph = _padding_graph(frame, width, height)

    def fits(self, frame: "VideoFrame") -> bool:
        """Whether the frame is of that size and format."""
        return self._kind == (frame.width, frame.height, frame.format.name)

    def __call__(self, frame: "VideoFrame") -> "VideoFrame":
        """A wider copy, which knows as the frame does where its chroma is."""
        self._graph.push(frame)
        padded: VideoFrame = self._graph.pull()  # type: ignore[assignment]
        # The filter has taken the incomplete blocks for padding, too. Alpha plays no part.
        for plane, of in zip(padded.planes[:3], frame.planes[:3], strict=True):
            lines, whole = (
                np.frombuffer(memoryview(one), np.uint8).reshape(-1, one.line_size)
                for one in (of, plane)
            )
            size = min(plane.line_size, of.line_size)
            whole[: of.height, :size] = lines[: of.height, :size]
        return padded


def _steps(frame: "VideoFrame") -> tuple[int, int]:
    """Pixels for each sample of chroma, across and down."""
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


def _fast() -> int:
    from av.video.reformatter import Interpolation

    return Interpolation.BILINEAR


def _near() -> int:
    """Without the flag, 8 bits would go the fast way."""
    from av.video.reformatter import Interpolation

    return Interpolation.BICUBIC | Interpolation.ACCURATE_RND
