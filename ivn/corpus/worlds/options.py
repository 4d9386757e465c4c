"""Options of ``ivn data render``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.options import Option, Positional, Unset


@dataclass(frozen=True, kw_only=True)
class Render:
    """Render a world with ground truth: clips with the action, depth, objects and positions.
    $ ivn data render vizdoom --clips 700 --out DIR

    The world is a walk through the maps of Freedoom, and needs VizDoom: pip install
    "ivn[vizdoom]". Each clip shows one action. Its depth, the positions of the camera, the
    commands and the boxes of all objects in view are stored beside it, and DIR/manifest.parquet
    names them all: see docs/data.md#the-rendered-world.

    The same seed gives the same files, bit for bit, whatever the number of workers. A clip in which
    the player was stuck, fell, saw next to nothing or had no room is rendered again at another
    position; a line at the end says how often. After any kind of stop, the same command renders
    the clips that are not there yet. Nothing is overwritten.

    Attributes:
        world: world to render.
        clips: number of clips; best a multiple of 7, the number of actions.
        out: folder for the clips and manifest.parquet; new, or one that the same command began.
        frames: number of frames of each clip.
        size: side of a frame in pixels; an even number from 32 to 480.
        fps: frames per second; 35 divided by a whole number.
        seed: seed of everything that is random.
        maps: names of the maps, from MAP01 to MAP32 and from E1M1 to E4M9; all of MAP01 to MAP32
            by default.
        workers: number of clips that are rendered at the same time; one per core by default.
    """

    world: Annotated[Literal["vizdoom"], Positional()]
    clips: Annotated[int, Option("N")]
    out: Annotated[str, Option("DIR")]
    frames: Annotated[int, Option("N")] = 16
    size: Annotated[int, Option("PIXELS")] = 112
    fps: Annotated[float, Option("FPS")] = 17.5
    seed: Annotated[int, Option("N")] = 0
    maps: Annotated[tuple[str, ...], Unset("MAP,...", commas=True)] = ()
    workers: Annotated[int, Unset("N")] = 0
