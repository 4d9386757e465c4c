"""Clips that differ in how the camera moves and in nothing else.

All ten motions of a view pass through one central window in the middle of the clip: that frame is
the same in all of them, and every view gives as many clips of each class. Opposite motions show
the same frames in opposite order, but for one: of an even number of frames the first is shown by
its own motion alone, so what a first frame gives away is measured as well. Any other frame is in
both clips and cannot tell which it is from; only change over time can.

H height, W width of a picture, T frames of a clip, F distinct frames of a view's ten clips, S side.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ivn.keys import Purpose
from ivn.ops.random import uniform

from .scenes import Picture

# Right, down and zoom of the camera; a motion and its opposite follow one another.
_HALF = math.sqrt(0.5)
_AXES = {
    ("right", "left"): (1.0, 0.0, 0.0),
    ("down", "up"): (0.0, 1.0, 0.0),
    ("right and down", "left and up"): (_HALF, _HALF, 0.0),
    ("right and up", "left and down"): (_HALF, -_HALF, 0.0),
    ("zoom in", "zoom out"): (0.0, 0.0, 1.0),
}
MOTIONS = tuple(motion for pair in _AXES for motion in pair)

# Of the window's side, a frame: 1.5 to 3 pixels at 112.
_SPEEDS = (1.5 / 112, 3 / 112)
_PLACES = 24  # tried for each view
_VIEW_LAYER = 0  # of Purpose.MOTION

Window = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the picture


@dataclass(frozen=True)
class View:
    """Where a camera looks in the middle of a clip, and how fast it moves.

    Attributes:
        x, y: centre of the window, in pixels of the picture.
        side: of the window, in pixels of the picture.
        speed: sides of the window that a pan moves in a frame.
    """

    x: float
    y: float
    side: float
    speed: float

    def window(self, direction: tuple[float, float, float], time: int) -> Window:
        """What is seen ``time`` frames after the middle (before, if negative)."""
        right, down, zoom = direction
        path = self.speed * time
        # The middle of a border moves as far as in a pan.
        half = self.side / 2 * math.exp(-2 * zoom * path)
        x, y = self.x + right * path * self.side, self.y + down * path * self.side
        return x - half, y - half, x + half, y + half


def choose_view(picture: Picture, *, frames: int, size: int) -> View:
    """A keyed view whose ten motions all stay inside the picture.

    No window is smaller than a frame: none is blurred by enlarging it, which would tell a zoom
    from one frame.

    Of some keyed places it is the one with most texture in every direction: where the smaller
    eigenvalue of the structure tensor is largest (Shi and Tomasi, "Good features to track", CVPR
    1994). Motion along a lone edge, or over a blank wall, could not be seen by anyone.

    Args:
        picture: where to look.
        frames: T.
        size: S.

    Raises:
        ValueError: the picture is too small.
    """
    u = uniform(
        picture.key, Purpose.MOTION, 1 + 2 * _PLACES, layer=_VIEW_LAYER, dtype=torch.float64
    )
    speed, *places = u[0].tolist()
    view = View(0.0, 0.0, side=size, speed=_between(_SPEEDS, speed))
    left, _, right, _ = view.window((0.0, 0.0, 1.0), frames // 2)
    view = replace(view, side=size * size / (right - left))
    reach = max(abs(edge) for window in _windows(view, frames) for edge in window)
    height, width = picture.pixels.shape[:2]
    if min(height, width) < 2 * reach:
        raise ValueError(
            f"the picture is {height} x {width}, expected at least {math.ceil(2 * reach)} pixels "
            f"a side for {frames} frames"
        )
    views = [
        replace(view, x=_between((reach, width - reach), x), y=_between((reach, height - reach), y))
        for x, y in zip(places[::2], places[1::2], strict=True)
    ]
    # Sums of whole numbers, exact in any order: the same place in every run.
    down, right = np.gradient(picture.pixels.sum(2, dtype=np.int64))
    tensor = np.stack([right * right, right * down, down * down], 2)
    return max(views, key=lambda view: _texture(tensor, view))


def render(picture: Picture, view: View, *, frames: int, size: int) -> Tensor:
    """The distinct frames of the ten clips of a view, uint8 ``[F, S, S, 3]``.

    The clips themselves are ``render(...)[clip_index(T)]``. Windows have real-valued edges and
    are resampled with antialiasing, so motion is smooth. One machine gives the same bytes in every
    run; another's ``exp`` or Pillow may round an edge or a weight otherwise.

    Args:
        picture: uint8 ``[H, W, 3]`` and more.
        view: of :func:`choose_view` for such clips.
        frames: T.
        size: S, in pixels.
    """
    image = Image.fromarray(picture.pixels)
    method = Image.Resampling.BILINEAR
    shown = [
        np.asarray(image.resize((size, size), method, box=box)) for box in _windows(view, frames)
    ]
    return torch.from_numpy(np.stack(shown))


def clip_index(frames: int) -> Tensor:
    """Which of a view's distinct frames each motion shows when, int64 ``[10, T]``.

    Column ``T // 2``, the middle, is 0, the central view, in every row.
    """
    reach = frames // 2
    rows = []
    for number in range(len(MOTIONS)):
        axis, sign = number // 2, 1 - 2 * (number % 2)
        times = [sign * (frame - reach) for frame in range(frames)]
        rows.append([_position(axis, time, reach) for time in times])
    return torch.tensor(rows)


def _windows(view: View, frames: int) -> list[Window]:
    """The central window, then those of each axis from the earliest time to the latest."""
    reach = frames // 2
    times = [time for time in range(-reach, reach + 1) if time]
    moved = [view.window(direction, time) for direction in _AXES.values() for time in times]
    return [view.window((0.0, 0.0, 0.0), 0), *moved]


def _position(axis: int, time: int, reach: int) -> int:
    """Where :func:`_windows` has it."""
    return 0 if time == 0 else 1 + 2 * reach * axis + time + reach - (time > 0)


def _between(bounds: tuple[float, float], share: float) -> float:
    low, high = bounds
    return low + share * (high - low)


def _texture(tensor: np.ndarray, view: View) -> float:
    """The smaller eigenvalue of the mean structure tensor in the window; ``tensor [H, W, 3]``."""
    left, top, right, bottom = (round(edge) for edge in view.window((0.0, 0.0, 0.0), 0))
    xx, xy, yy = tensor[top:bottom, left:right].mean((0, 1)).tolist()
    return (xx + yy) / 2 - math.hypot((xx - yy) / 2, xy)
