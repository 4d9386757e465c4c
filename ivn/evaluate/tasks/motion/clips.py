"""Clips that differ in how the camera moves and in nothing else.

All ten motions of a camera pass through one central box in the middle of the clip: that frame is
the same in all of them, and every camera gives as many clips of each class. Opposite motions show
the same frames in opposite order, with one exception: of an even number of frames the first is
shown by its own motion alone, so that the information in a first frame is measured as well. Any
other frame is in both clips and cannot distinguish them; only change over time can.

H height, W width of a picture, T frames of a clip, F distinct frames of a camera's ten clips, S
side of a frame.
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

# Shares of the box's side per frame: 1.5 to 3 pixels at 112.
_SPEEDS = (1.5 / 112, 3 / 112)
_PLACES = 24  # places tried for each camera
_CAMERA_LAYER = 0  # layer of Purpose.MOTION

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the picture


@dataclass(frozen=True)
class Camera:
    """A camera over a picture: its central box, in the middle of a clip, and its speed.

    Attributes:
        x, y: centre of the box, in pixels of the picture.
        side: side of the box, in pixels of the picture.
        speed: movement of a pan per frame, in sides of the box.
    """

    x: float
    y: float
    side: float
    speed: float

    def box(self, direction: tuple[float, float, float], time: int) -> Box:
        """Returns the box ``time`` frames after the middle of the clip (before, if negative)."""
        right, down, zoom = direction
        path = self.speed * time
        # The middle of a border moves as far as in a pan.
        half = self.side / 2 * math.exp(-2 * zoom * path)
        x, y = self.x + right * path * self.side, self.y + down * path * self.side
        return x - half, y - half, x + half, y + half


def choose_camera(picture: Picture, *, frames: int, size: int) -> Camera:
    """Returns a keyed camera whose ten motions all stay inside the picture.

    No box is smaller than a frame: enlarging would blur it, which would reveal a zoom in a single
    frame.

    Of several keyed places it takes the one with most texture in every direction, where the smaller
    eigenvalue of the structure tensor is largest (Shi and Tomasi, "Good features to track", CVPR
    1994). Motion along a lone edge, or over a blank wall, is not visible.

    Args:
        picture: the picture that the camera moves over.
        frames: frames of a clip, T.
        size: side of the frames in pixels, S.

    Raises:
        ValueError: the picture is too small.
    """
    u = uniform(
        picture.key, Purpose.MOTION, 1 + 2 * _PLACES, layer=_CAMERA_LAYER, dtype=torch.float64
    )
    speed, *places = u[0].tolist()
    camera = Camera(0.0, 0.0, side=size, speed=_between(_SPEEDS, speed))
    left, _, right, _ = camera.box((0.0, 0.0, 1.0), frames // 2)
    camera = replace(camera, side=size * size / (right - left))
    reach = max(abs(edge) for box in _boxes(camera, frames) for edge in box)
    height, width = picture.pixels.shape[:2]
    if min(height, width) < 2 * reach:
        raise ValueError(
            f"the picture is {height} x {width}, expected at least {math.ceil(2 * reach)} pixels "
            f"per side for {frames} frames"
        )
    cameras = [
        replace(
            camera, x=_between((reach, width - reach), x), y=_between((reach, height - reach), y)
        )
        for x, y in zip(places[::2], places[1::2], strict=True)
    ]
    # Sums of whole numbers are exact in any order: the place is the same in every run.
    down, right = np.gradient(picture.pixels.sum(2, dtype=np.int64))
    tensor = np.stack([right * right, right * down, down * down], 2)
    return max(cameras, key=lambda camera: _texture(tensor, camera))


def render(picture: Picture, camera: Camera, *, frames: int, size: int) -> Tensor:
    """Renders the distinct frames of a camera's ten clips, uint8 ``[F, S, S, 3]``.

    The clips themselves are ``render(...)[clip_index(T)]``. Boxes have real-valued edges and are
    resampled with antialiasing, so that motion is smooth. One machine gives the same bytes in every
    run; the ``exp`` or Pillow of another may round an edge or a weight differently.

    Args:
        picture: the picture that the camera moves over.
        camera: a camera of :func:`choose_camera` for the same frames and size.
        frames: frames of a clip, T.
        size: side of the frames in pixels, S.
    """
    image = Image.fromarray(picture.pixels)
    method = Image.Resampling.BILINEAR
    rendered = [
        np.asarray(image.resize((size, size), method, box=box)) for box in _boxes(camera, frames)
    ]
    return torch.from_numpy(np.stack(rendered))


def clip_index(frames: int) -> Tensor:
    """Returns the numbers of the distinct frames in each motion's clip, int64 ``[10, T]``.

    Column ``T // 2``, the middle, is 0, the central box, in every row.
    """
    reach = frames // 2
    rows = []
    for number in range(len(MOTIONS)):
        axis, sign = number // 2, 1 - 2 * (number % 2)
        times = [sign * (frame - reach) for frame in range(frames)]
        rows.append([_position(axis, time, reach) for time in times])
    return torch.tensor(rows)


def _boxes(camera: Camera, frames: int) -> list[Box]:
    """Returns the central box, then those of each axis from the earliest time to the latest."""
    reach = frames // 2
    times = [time for time in range(-reach, reach + 1) if time]
    moved = [camera.box(direction, time) for direction in _AXES.values() for time in times]
    return [camera.box((0.0, 0.0, 0.0), 0), *moved]


def _position(axis: int, time: int, reach: int) -> int:
    """Returns the number of a box in the list of :func:`_boxes`."""
    return 0 if time == 0 else 1 + 2 * reach * axis + time + reach - (time > 0)


def _between(bounds: tuple[float, float], share: float) -> float:
    low, high = bounds
    return low + share * (high - low)


def _texture(tensor: np.ndarray, camera: Camera) -> float:
    """Returns the smaller eigenvalue of the mean structure tensor, ``[H, W, 3]``, in the box."""
    left, top, right, bottom = (round(edge) for edge in camera.box((0.0, 0.0, 0.0), 0))
    xx, xy, yy = tensor[top:bottom, left:right].mean((0, 1)).tolist()
    return (xx + yy) / 2 - math.hypot((xx - yy) / 2, xy)
