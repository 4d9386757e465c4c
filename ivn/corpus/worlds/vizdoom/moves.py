"""The camera's motion in a clip, drawn from its key, and whether it was kept.

One action a clip, held from before the first frame to the last, with small variations: so a clip
has one clean class. T frames, P places, L lines of a map.

Units are the engine's: 1 map unit is about 3 cm, a tic is 1/35 s, angles grow anticlockwise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ivn.keys import Purpose, make_keys
from ivn.ops.random import random_words, uniform

# Action -> direction of motion (forward, to the right) and of turning (to the left).
ACTIONS = {
    "stand_still": (0, 0, 0),
    "move_forward": (1, 0, 0),
    "move_backward": (-1, 0, 0),
    "turn_left": (0, 0, 1),
    "turn_right": (0, 0, -1),
    "strafe_left": (0, -1, 0),
    "strafe_right": (0, 1, 0),
}
# Least and largest command of a clip: a push of 3 ends in a speed of 1 unit a tic.
_PUSH = (12.0, 24.0)
_TURN = (1.5, 4.0)  # degrees a tic
_PUSH_PER_SPEED = 3.0
# Pushes and turns of single frames differ from the clip's by up to this share.
_VARIATION = 0.1
_SWAY = 0.3  # degrees a tic, of a camera that moves

_PLACES = 64
_WIDTH = 24.0  # the player's radius is 16
_ROOM = 64.0  # radius for a player who stays in a place and looks around
_HEADROOM = 64.0  # the player's height is 56
_STEP = 24.0  # as high as the player climbs
_THING = 40.0  # from the player's middle to that of the thickest thing
_VIEW = 128.0  # no wall nearer than this in front of the camera


@dataclass(frozen=True)
class CameraPlan:
    """A clip before it is rendered.

    Attributes:
        action: key of :data:`ACTIONS`.
        seed: seed of the engine, below 2**31.
        commands: float64 ``[T, 3]``: push forward, push to the right, degrees a tic to the left;
            row t is held from frame t to the next, row 0 before the first frame, too.
    """

    action: str
    seed: int
    commands: np.ndarray


@dataclass(frozen=True)
class Geometry:
    """A map's sectors: areas of one floor and one ceiling, bounded by lines; and what stands there.

    Attributes:
        lines: float64 ``[L, 4]``, x1, y1, x2, y2, sector after sector.
        sector: int64 ``[L]``, ascending, the number of a line's sector.
        floor, ceiling: float64, heights of each sector.
        walls: float64 ``[W, 4]``, lines that nobody can cross at their height: walls, high steps,
            low passages.
        things: float64 ``[O, 2]``, where objects stand.
    """

    lines: np.ndarray
    sector: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray
    walls: np.ndarray
    things: np.ndarray


def geometry(
    lines: np.ndarray,
    blocking: np.ndarray,
    sector: np.ndarray,
    floor: np.ndarray,
    ceiling: np.ndarray,
    things: np.ndarray,
) -> Geometry:
    """Returns a map's geometry; ``blocking`` is bool ``[L]``, the rest as in :class:`Geometry`."""
    highest: dict[Any, float] = {}
    lowest: dict[Any, float] = {}
    deepest: dict[Any, float] = {}
    # A line between two sectors is in both their lists, its ends in either order.
    names = [tuple(sorted([(x1, y1), (x2, y2)])) for x1, y1, x2, y2 in lines.tolist()]
    for name, number in zip(names, sector.tolist(), strict=True):
        highest[name] = max(highest.get(name, -np.inf), floor[number])
        deepest[name] = min(deepest.get(name, np.inf), floor[number])
        lowest[name] = min(lowest.get(name, np.inf), ceiling[number])
    closed = np.array(
        [
            highest[name] - deepest[name] > _STEP or lowest[name] - highest[name] < _HEADROOM
            for name in names
        ]
    )
    return Geometry(lines, sector, floor, ceiling, lines[blocking | closed], things)


def clip_key(seed: int, clip: int, draw: int) -> Tensor:
    """Returns the key of the ``draw``-th attempt at a clip, int64 ``[1, 4]``."""
    return make_keys(seed, 0, [clip], repeat=draw)


def plan(action: str, frames: int, key: Tensor) -> CameraPlan:
    """Returns the commands of a clip of ``frames`` frames."""
    seed = int(random_words(key, Purpose.WORLD, 1)[0, 0]) >> 1
    strength = float(uniform(key, Purpose.WORLD, 1, layer=1, dtype=torch.float64)[0, 0])
    draws = uniform(key, Purpose.WORLD, 2 * frames, layer=2, dtype=torch.float64)[0].numpy()
    vary, sway = 2 * draws.reshape(2, frames) - 1
    forward, right, left = ACTIONS[action]
    push = _PUSH[0] + (_PUSH[1] - _PUSH[0]) * strength
    turn = _TURN[0] + (_TURN[1] - _TURN[0]) * strength
    factor = 1 + _VARIATION * vary
    swaying = _SWAY * sway if forward or right else 0 * sway
    turning = left * turn * factor + swaying
    return CameraPlan(
        action, seed, np.stack([forward * push * factor, right * push * factor, turning], 1)
    )


def find_start(
    geometry: Geometry, planned: CameraPlan, tics: int, key: Tensor
) -> tuple[float, float, float, float] | None:
    """Returns x, y, angle in degrees and height of the floor of a place where the plan can be kept.

    The place lies in a sector with room for the player, and no wall crosses its way or stands right
    before the camera. None if no drawn place is so.

    Args:
        geometry: geometry of the map.
        planned: commands of the clip.
        tics: length of the clip.
        key: key of the attempt.
    """
    draws = uniform(key, Purpose.WORLD, 3 * _PLACES, layer=3, dtype=torch.float64)[0]
    u = draws.numpy().reshape(_PLACES, 3)
    low = np.minimum(geometry.lines[:, :2].min(0), geometry.lines[:, 2:].min(0))
    high = np.maximum(geometry.lines[:, :2].max(0), geometry.lines[:, 2:].max(0))
    places = low + (high - low) * u[:, :2]
    angles = 360 * u[:, 2]
    sector = _sector_of(geometry, places)
    tall = geometry.ceiling[sector] - geometry.floor[sector] >= _HEADROOM
    good = (sector >= 0) & tall
    walls, things = geometry.walls, np.concatenate([geometry.things, geometry.things], 1)
    forward, right, _ = ACTIONS[planned.action]
    width = _WIDTH if forward or right else _ROOM
    # Less than at full speed, which the player reaches gradually.
    reach = 0.8 * np.abs(planned.commands[:, :2]).max() / _PUSH_PER_SPEED * tics
    look = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], 1)
    side = np.stack([look[:, 1], -look[:, 0]], 1)
    for index in np.flatnonzero(good):
        start, way = places[index], forward * look[index] + right * side[index]
        if (
            not _touched(walls, start, start + reach * way, width)
            and not _touched(things, start, start + reach * way, _THING)
            and not _touched(walls, start, start + _VIEW * look[index], 1.0)
        ):
            floor = geometry.floor[sector[index]]
            return float(start[0]), float(start[1]), float(angles[index]), float(floor)
    return None


def moved_as_planned(planned: CameraPlan, poses: np.ndarray, tics: int) -> bool:
    """Returns whether the camera moved as planned: not stuck, pushed aside, fallen or teleported.

    Args:
        planned: commands of the clip.
        poses: x, y, height of the eye and angle in degrees of the first frames, float64.
        tics: tics from frame to frame.
    """
    angle = np.radians(poses[:-1, 3])
    dx, dy = np.diff(poses[:, 0]), np.diff(poses[:, 1])
    ahead = dx * np.cos(angle) + dy * np.sin(angle)
    aside = dx * np.sin(angle) - dy * np.cos(angle)
    forward, right, _ = ACTIONS[planned.action]
    if not forward and not right:
        # Some floors carry things along.
        return bool((np.hypot(dx, dy) < 0.1).all() and np.ptp(poses[:, 2]) < 1)
    along, across = forward * ahead + right * aside, right * ahead - forward * aside
    full = np.abs(planned.commands[: len(along), :2]).max(1) / _PUSH_PER_SPEED * tics
    return bool(
        (along > 0.3 * full).all()
        and (along < 1.5 * full).all()
        and (np.abs(across) < 0.25 * along).all()
        and (np.abs(np.diff(poses[:, 2])) < 16 * tics).all()
    )


def _sector_of(geometry: Geometry, places: np.ndarray) -> np.ndarray:
    """Returns the number of each place's sector, int64 ``[P]``, -1 if it has none or several."""
    x1, y1, x2, y2 = geometry.lines.T
    x, y = places[:, :1], places[:, 1:]
    across = (y1 > y) != (y2 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        right = x < x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    first = np.flatnonzero(np.diff(geometry.sector, prepend=-1))
    odd = np.add.reduceat((across & right).astype(np.int64), first, axis=1) % 2
    found = geometry.sector[first][odd.argmax(1)]
    return np.where(odd.sum(1) == 1, found, -1)


def _touched(walls: np.ndarray, start: np.ndarray, end: np.ndarray, reach: float) -> bool:
    """Returns whether any of the walls ``[W, 4]`` comes as near as ``reach`` to a way."""
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    first, last = walls[:, :2], walls[:, 2:]
    near = ((np.maximum(first, last) >= low) & (np.minimum(first, last) <= high)).all(1)
    return bool(near.any()) and _distance(walls[near], start, end) <= reach


def _distance(walls: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Returns the distance from a segment to the nearest of the walls ``[L, 4]``."""
    first, last = walls[:, :2], walls[:, 2:]

    def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

    def to_segment(point: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        along = b - a
        length = np.maximum((along * along).sum(-1), 1e-12)
        share = np.clip(((point - a) * along).sum(-1) / length, 0, 1)
        return np.hypot(*np.moveaxis(point - a - share[..., None] * along, -1, 0))

    way, wall = end - start, last - first
    apart = np.minimum(
        np.minimum(to_segment(start, first, last), to_segment(end, first, last)),
        np.minimum(to_segment(first, start, end), to_segment(last, start, end)),
    )
    crossing = (cross(way, first - start) * cross(way, last - start) < 0) & (
        cross(wall, start - first) * cross(wall, end - first) < 0
    )
    return float(np.where(crossing, 0, apart).min(initial=np.inf))
