"""Options of ``ivn data render scenes``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.worlds.options import Rendering, World
from ivn.options import Option


@dataclass(frozen=True, kw_only=True)
class ScenesWorld(World):
    """Settings of a world of drawn scenes; every field changes the clips.

    Attributes:
        frames: number of frames of each clip.
        size: side of a frame in pixels; an even number from 32 to 480.
    """

    frames: Annotated[int, Option("N")] = 8
    size: Annotated[int, Option("PIXELS")] = 64


@dataclass(frozen=True, kw_only=True)
class RenderScenes(ScenesWorld, Rendering):
    """Render drawn scenes: clips with kinds of objects, textures, layouts and motions as labels.
    $ ivn data render scenes --clips 1000 --out DIR

    A camera moves over a textured ground with objects of one kind, one of which moves by itself.
    Depth, the camera's positions and the boxes of all objects are stored beside each clip, and
    DIR/manifest.parquet names them all: see docs/data.md#the-rendered-worlds.

    Each clip has a ground, objects and colours of its own: two clips, of one seed or of two, share
    classes and nothing else. So a world of another seed is a test of what was learnt on this one.
    On one machine the same seed gives the same files, bit for bit, whatever the number of workers.
    After any kind of stop, the same command renders the clips that are not there yet. Nothing is
    overwritten.
    """

    def __post_init__(self) -> None:
        Rendering.__post_init__(self)
        ScenesWorld.__post_init__(self)
