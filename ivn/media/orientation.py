"""How a stored frame is shown: turned and mirrored by its display matrix.

Containers have one, H.264 and H.265 may carry one in a message (SEI), and FFmpeg's decoders of
JPEG, PNG and WebP make one of EXIF's orientation. All come with the decoded frame.
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
    """The way from a stored frame to one that is upright: first turned, then mirrored.

    Attributes:
        turns: quarter turns anticlockwise, 0 to 3.
        mirrored: whether left and right are exchanged after turning.
    """

    turns: int = 0
    mirrored: bool = False

    @property
    def on_its_side(self) -> bool:
        """Whether width and height change places."""
        return self.turns % 2 == 1

    def upright(self, image: np.ndarray) -> np.ndarray:
        """A view of ``[H, W, ...]`` as it is shown."""
        turned = np.rot90(image, self.turns)
        return turned[:, ::-1] if self.mirrored else turned


def orientation_of(frame: "VideoFrame") -> Orientation:
    """What the frame's display matrix says, to the nearest quarter turn; nothing where it has none.

    ``frame.rotation`` does not tell a mirroring from a half turn, or from nothing.
    """
    data = _side_data(frame).get("DISPLAYMATRIX")
    if data is None:
        # 0, but where the matrix stands behind something that PyAV has no name for.
        return Orientation(round(frame.rotation / 90) % 4)
    return _of_matrix(struct.unpack("=9i", bytes(data)))


def _of_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The pixel at (x, y) is shown at (a x + c y, b x + d y), but for a shift; y counts downwards.

    See libavutil/display.h.
    """
    a, b, _, c, d = matrix[:5]
    return Orientation(round(-math.atan2(b, d) / (math.pi / 2)) % 4, a * d < b * c)


def _side_data(frame: "VideoFrame") -> "SideDataContainer":
    """What is attached to the frame, up to the first thing that PyAV has no name for.

    ``frame.side_data`` raises ValueError for such a thing, and EXIF is one. Matrices come before
    it: a container's is attached first of all, and that of EXIF's orientation just before EXIF.
    """
    from av.sidedata.sidedata import SideDataContainer

    found = SideDataContainer.__new__(SideDataContainer)
    with suppress(ValueError):
        SideDataContainer.__init__(found, frame)  # type: ignore[call-arg]
    return found
