"""One scene: a ground with objects on it, the path of one of them, and the path of the camera.

The camera looks straight down. Places are in pixels of the ground at the camera's distance in the
middle of the clip, from the middle of the frame, to the right and down; heights and distances are
in units of that distance. T frames, S side of a frame, K boxes of a clip.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from PIL import Image

from ivn.corpus.worlds.files import Take

from .objects import OBJECTS, OUTLINES, drawn_object
from .textures import TEXTURES, texture

_HALF = math.sqrt(0.5)
# Right, down and forward.
CAMERA = {
    "right": (1.0, 0.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "up": (0.0, -1.0, 0.0),
    "right and down": (_HALF, _HALF, 0.0),
    "left and up": (-_HALF, -_HALF, 0.0),
    "right and up": (_HALF, -_HALF, 0.0),
    "left and down": (-_HALF, _HALF, 0.0),
    "zoom in": (0.0, 0.0, 1.0),
    "zoom out": (0.0, 0.0, -1.0),
}
PANS = tuple(name for name, (_, _, forward) in CAMERA.items() if not forward)
# The places of the objects that stand, in units of _SPACING.
LAYOUTS = {
    "row": ((-1.2, 0.0), (0.0, 0.0), (1.2, 0.0)),
    "column": ((0.0, -1.2), (0.0, 0.0), (0.0, 1.2)),
    "triangle": ((-0.9, 0.7), (0.9, 0.7), (0.0, -0.8)),
    "square": ((-0.8, -0.8), (0.8, -0.8), (-0.8, 0.8), (0.8, 0.8)),
    "diagonal": ((-1.0, -1.0), (0.0, 0.0), (1.0, 1.0)),
}
# All lengths below are shares of a frame's side. The camera's path over the whole clip:
SPEEDS = {"slow": (0.11, 0.20), "fast": (0.24, 0.33)}
_OBJECT_PATH = (0.16, 0.33)
_PERIOD = (0.11, 0.22)  # of the ground's texture
_RADIUS = (0.085, 0.11)
_SPACING = 0.235
_OFF_CENTRE = 0.08  # of the layout
_START = 0.19  # of the moving object in the middle of the clip
_LARGER = 1.15  # the moving object, than the others
_HEIGHT = 0.2  # of objects above the ground, in units of distance
_FINE = 2  # samples a pixel


@dataclass(frozen=True)
class Classes:
    """The classes of a scene, which are its labels.

    Attributes:
        object: kind of all objects.
        texture: family of the ground's texture.
        layout: arrangement of the objects that stand.
        camera: motion of the camera.
        speed: speed of the camera.
        object_motion: direction in which one object moves over the ground.
    """

    object: str
    texture: str
    layout: str
    camera: str
    speed: str
    object_motion: str


# What each label may be.
CLASSES = {
    "object": OBJECTS,
    "texture": TEXTURES,
    "layout": tuple(LAYOUTS),
    "camera": tuple(CAMERA),
    "speed": tuple(SPEEDS),
    "object_motion": PANS,
}
assert tuple(CLASSES) == tuple(field.name for field in fields(Classes))


@dataclass(frozen=True)
class Scene(Take):
    """A drawn clip.

    Depth is float16; poses are float32 ``[T, 3]``: place and distance from the ground of the
    camera. The last object of a scene is the one that moves; positions are place and height.

    Attributes:
        classes: the labels.
    """

    classes: Classes


def draw_classes(rng: np.random.Generator) -> Classes:
    """Draws the classes of a scene, which are the first that :func:`draw_scene` draws."""
    return Classes(**{name: str(rng.choice(those)) for name, those in CLASSES.items()})


def draw_scene(rng: np.random.Generator, frames: int, size: int) -> Scene:
    """Draws a clip of a scene that no other clip shows.

    Args:
        rng: source of random numbers; all follows from it.
        frames: number of frames, T.
        size: side of a frame in pixels, S.
    """
    classes = draw_classes(rng)
    times = np.arange(frames) / (frames - 1) - 0.5  # in clips
    path = rng.uniform(*SPEEDS[classes.speed])
    right, down, forward = CAMERA[classes.camera]
    # The middle of a border moves as far in a zoom as in a pan.
    distances = 1 - 2 * path * forward * times
    camera = np.outer(times, (right * path * size, down * path * size))
    ground = _ground(rng, classes, size)
    standing = Image.new("RGBA", ground.size)
    places, mover = _put_objects(rng, classes, size, standing)
    x, y, _ = CAMERA[classes.object_motion]
    start = rng.uniform(-_START, _START, 2) * size
    moving = start + np.outer(times, (x, y)) * rng.uniform(*_OBJECT_PATH) * size

    pictures, depths, boxes = [], [], []
    for frame, (place, distance) in enumerate(zip(camera, distances, strict=True)):
        above = standing.copy()
        _put(above, mover, moving[frame])
        picture = _view(ground, place, distance, size).convert("RGBA")
        top = _view(above, place, distance - _HEIGHT, size)
        picture.alpha_composite(top)
        pictures.append(np.asarray(picture)[..., :3])
        covered = np.asarray(top)[..., 3] > 127
        depths.append(np.where(covered, distance - _HEIGHT, distance))
        every = [*places, (moving[frame], mover.width)]
        boxes += [
            (box, frame, number, (*where, _HEIGHT))
            for number, (where, width) in enumerate(every)
            if (box := _box(where - place, width, distance - _HEIGHT, size)) is not None
        ]
    edges, numbers, objects, positions = zip(*boxes, strict=True) if boxes else ((),) * 4
    return Scene(
        np.stack(pictures),
        np.stack(depths).astype(np.float16),
        np.column_stack([camera, distances]).astype(np.float32),
        np.array(edges, np.int16).reshape(-1, 4),
        np.array(numbers, np.int16),
        np.array(objects, np.int16),
        np.array(positions, np.float32).reshape(-1, 3),
        classes,
    )


def _ground(rng: np.random.Generator, classes: Classes, size: int) -> Image.Image:
    """Returns the ground, large enough for every path of the camera."""
    farthest = max(high for _, high in SPEEDS.values())
    side = _FINE * (math.ceil(size * (1 + 2 * farthest)) + 2)
    period = _FINE * size * rng.uniform(*_PERIOD)
    return Image.fromarray(texture(rng, classes.texture, side, period))


def _put_objects(
    rng: np.random.Generator, classes: Classes, size: int, layer: Image.Image
) -> tuple[list[tuple[np.ndarray, int]], Image.Image]:
    """Puts the objects that stand onto a layer.

    Returns:
        Their places and widths in samples, and the object that moves.
    """
    radius = _FINE * size * (1 - _HEIGHT) * rng.uniform(*_RADIUS)
    others = [family for family in TEXTURES if family != classes.texture]
    its_own, movers = rng.choice(others, 2, replace=False)
    outline = int(rng.choice(OUTLINES))  # alike in a clip, so that no label shows in its brightness
    one = drawn_object(rng, classes.object, str(its_own), radius, outline)
    mover = drawn_object(rng, classes.object, str(movers), _LARGER * radius, outline)
    centre = rng.uniform(-_OFF_CENTRE, _OFF_CENTRE, 2)
    places = []
    for place in LAYOUTS[classes.layout]:
        where = (centre + np.array(place) * _SPACING) * size * (1 - _HEIGHT)
        _put(layer, one, where)
        places.append((where, one.width))
    return places, mover


def _put(layer: Image.Image, one: Image.Image, place: np.ndarray) -> None:
    """Pastes an object onto a layer with its middle at a place."""
    x, y = (layer.width / 2 + _FINE * place - one.width / 2).round().astype(int).tolist()
    layer.paste(one, (x, y), one)


def _view(layer: Image.Image, place: np.ndarray, distance: float, size: int) -> Image.Image:
    """Returns a layer as a camera above ``place`` sees it."""
    middle, half = layer.width / 2 + _FINE * place, _FINE * size * distance / 2
    box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    return layer.resize((size, size), Image.Resampling.BILINEAR, box=box)


def _box(
    offset: np.ndarray, width: int, distance: float, size: int
) -> tuple[int, int, int, int] | None:
    """Returns the part of an object's square that is in the frame; None if none is."""
    reach = width / _FINE / 2
    left, top, right, bottom = (
        round(size / 2 + edge / distance) for edge in (*(offset - reach), *(offset + reach))
    )
    box = max(left, 0), max(top, 0), min(right, size), min(bottom, size)
    return box if box[0] < box[2] and box[1] < box[3] else None
