"""Pictures for a camera to move over: frames of real clips, and drawn textures."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from ivn.keys import Purpose, make_keys
from ivn.media.decode import decode
from ivn.media.source import BUNDLED_CLIPS, Source
from ivn.ops.random import random_words

from .texture import textured

Kind = Literal["real", "procedural"]

_TABLE = "ATTRIBUTION.tsv"
_FRAME_LAYER = 1  # layer of Purpose.MOTION
_REAL, _PROCEDURAL = 0, 1  # repeats of a key: no picture shares another's random numbers


@dataclass(frozen=True)
class Picture:
    """A picture that a camera moves over.

    Attributes:
        pixels: uint8 ``[H, W, 3]``, RGB.
        scene: name of its scene; pictures of one scene stay on one side of every split.
        kind: "real" for a frame of a clip, "procedural" for a drawn picture.
        key: key of the camera's random numbers, int64 ``[1, 4]``.
    """

    pixels: np.ndarray
    scene: str
    kind: Kind
    key: Tensor


@dataclass(frozen=True)
class BundledPictures:
    """The bundled pictures: frames of the bundled clips, then drawn ones.

    Attributes:
        per_scene: frames of each real scene.
        procedural: drawn pictures.
        seed: seed of the frames and drawings.
    """

    per_scene: int = 2
    procedural: int = 16
    seed: int = 0

    def __len__(self) -> int:
        return self.per_scene * len(real_scenes()) + self.procedural

    def __iter__(self) -> Iterator[Picture]:
        yield from real_pictures(self.per_scene, seed=self.seed)
        yield from procedural_pictures(self.procedural, seed=self.seed)


def real_pictures(per_scene: int, *, seed: int) -> Iterator[Picture]:
    """Yields keyed frames of the bundled clips, ``per_scene`` per scene, from its files in turn.

    Raises:
        DecodeError: a clip cannot be read.
    """
    for number, (scene, files) in enumerate(real_scenes().items()):
        for turn in range(per_scene):
            key = make_keys(seed, turn, [number], repeat=_REAL)
            frame = keyed_frame(files[turn % len(files)], key)
            yield Picture(frame, scene, "real", key)


def procedural_pictures(count: int, *, seed: int) -> Iterator[Picture]:
    """Yields drawn pictures, each a scene of its own."""
    for number in range(count):
        key = make_keys(seed, 0, [number], repeat=_PROCEDURAL)
        yield Picture(textured(key), f"procedural {number}", "procedural", key)


def real_scenes() -> dict[str, list[Path]]:
    """Returns the bundled clips of each scene; clips of one room or place are one scene."""
    with (BUNDLED_CLIPS / _TABLE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    scenes: dict[str, list[Path]] = {}
    for row in rows:
        scenes.setdefault(row["scene"], []).append(BUNDLED_CLIPS / row["file"])
    return scenes


def keyed_frame(source: Source | Path, key: Tensor) -> np.ndarray:
    """Returns a keyed frame of a video, uint8 ``[H, W, 3]``.

    Raises:
        DecodeError: the video cannot be read.
    """
    word = int(random_words(key, Purpose.MOTION, 1, layer=_FRAME_LAYER))
    return decode(source, lambda total: [word * total >> 32])[0].numpy()
