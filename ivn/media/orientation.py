"""Finds how a stored frame is shown: turned and mirrored by its display matrix.

A container may have a display matrix, H.264 and H.265 may carry one in a message (SEI), and
FFmpeg's decoders of JPEG, PNG and WebP derive one from EXIF's orientation. All come with the
decoded frame.
"""

import math
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame
    from av.sidedata.sidedata import SideDataContainer


@dataclass(frozen=True, slots=True)
class Orientation:
    """The turn, and then the mirroring, that make a stored frame upright.

    Attributes:
        turns: quarter turns anticlockwise, 0 to 3.
        mirrored: whether left and right are exchanged after turning.
    """

    turns: int = 0
    mirrored: bool = False

    @property
    def on_its_side(self) -> bool:
        """Whether width and height are exchanged."""
        return self.turns % 2 == 1

    def upright(self, image: np.ndarray) -> np.ndarray:
        """Returns a view of ``[H, W, ...]`` as it is shown."""
        turned = np.rot90(image, self.turns)
        return turned[:, ::-1] if self.mirrored else turned


def orientation_of(frame: "VideoFrame") -> Orientation:
    """Returns the frame's display matrix to the nearest quarter turn; without one, no turn.

    ``frame.rotation`` alone is not enough: it is the same for a mirrored frame as for one that is
    turned by half, or not at all.
    """
    data = _side_data(frame).get("DISPLAYMATRIX")
    if data is None:
        # 0, unless the matrix follows side data of a kind that PyAV does not know.
        return Orientation(round(frame.rotation / 90) % 4)
    return _of_matrix(struct.unpack("=9i", bytes(data)))


def _of_matrix(matrix: tuple[int, ...]) -> Orientation:
    """Returns the orientation of a display matrix.

    The pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift; y counts downwards. See
    libavutil/display.h.
    """
    a, b, _, c, d = matrix[:5]
    return Orientation(round(-math.atan2(b, d) / (math.pi / 2)) % 4, a * d < b * c)


def _side_data(frame: "VideoFrame") -> "SideDataContainer":
    """Returns the frame's side data up to the first kind that PyAV does not know.

    ``frame.side_data`` raises ValueError for such a kind, and EXIF is one. Display matrices come
    earlier: a container's is attached first, and that of EXIF's orientation just before EXIF.
    """
    from av.sidedata.sidedata import SideDataContainer

    side_data = SideDataContainer.__new__(SideDataContainer)
    with suppress(ValueError):
        SideDataContainer.__init__(side_data, frame)  # type: ignore[call-arg]
    return side_data
