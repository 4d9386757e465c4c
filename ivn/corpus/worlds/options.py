"""Options of ``ivn data render``."""

from dataclasses import dataclass
from typing import Annotated, Literal

from ivn.corpus.limits import Workers
from ivn.errors import RequestError
from ivn.options import Option, Positional, Unset

TICS_PER_SECOND = 35
MAX_SIZE = 480
# Freedoom: phase two has MAP01 to MAP32, phase one E1M1 to E4M9.
MAPS = tuple(f"MAP{number:02}" for number in range(1, 33))
ALL_MAPS = (*MAPS, *(f"E{part}M{number}" for part in range(1, 5) for number in range(1, 10)))


@dataclass(frozen=True)
class World:
    """Settings of a rendered world; every field changes the clips.

    Attributes:
        clips: number of clips; best a multiple of 7, the number of actions.
        frames: number of frames of each clip.
        size: side of a frame in pixels; an even number from 32 to 480.
        fps: frames per second; 35 divided by a whole number.
        seed: seed of everything that is random.
        maps: names of the maps, from MAP01 to MAP32 and from E1M1 to E4M9; all of MAP01 to MAP32
            by default.
    """

    clips: Annotated[int, Option("N")]
    frames: Annotated[int, Option("N")] = 16
    size: Annotated[int, Option("PIXELS")] = 112
    fps: Annotated[float, Option("FPS")] = 17.5
    seed: Annotated[int, Option("N")] = 0
    maps: Annotated[tuple[str, ...], Unset("MAP,...", commas=True)] = MAPS

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise RequestError(f"{self.clips} clips: expected at least 1")
        if not 2 <= self.frames <= 10000:
            raise RequestError(f"clips of {self.frames} frames: expected 2 to 10000")
        if self.size % 2 or not 32 <= self.size <= MAX_SIZE:
            raise RequestError(f"frames of {self.size} pixels: expected 32 to {MAX_SIZE}, even")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"seed {self.seed}: expected 0 up to below 2**63")
        if not 1 <= self.fps <= TICS_PER_SECOND or abs(self.fps * self.tics - 35) > 0.05:
            near = ", ".join(f"{TICS_PER_SECOND / tics:.4g}" for tics in range(1, 6))
            raise RequestError(
                f"{self.fps} frames a second: the world moves {TICS_PER_SECOND} times a second, "
                f"expected {TICS_PER_SECOND} over a whole number ({near}, ...)"
            )
        unknown = [name for name in self.maps if name not in ALL_MAPS]
        if unknown or not self.maps or len(set(self.maps)) < len(self.maps):
            raise RequestError(
                f"maps {','.join(self.maps)}: expected some of MAP01 to MAP32 and E1M1 to E4M9, "
                f"each once"
            )

    @property
    def tics(self) -> int:
        """Number of engine steps from frame to frame."""
        return max(1, round(TICS_PER_SECOND / self.fps))


@dataclass(frozen=True, kw_only=True)
class Render(World, Workers):
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
        out: folder for the clips and manifest.parquet; new, or one that the same command began.
    """

    world: Annotated[Literal["vizdoom"], Positional()]
    out: Annotated[str, Option("DIR")]

    def __post_init__(self) -> None:
        Workers.__post_init__(self)
        World.__post_init__(self)
