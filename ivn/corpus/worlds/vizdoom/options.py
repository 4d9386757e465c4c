"""Options of ``ivn data render vizdoom``."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.worlds.options import Rendering, World
from ivn.errors import RequestError
from ivn.options import Option, Unset

TICS_PER_SECOND = 35
# Freedoom: phase two has MAP01 to MAP32, phase one E1M1 to E4M9.
MAPS = tuple(f"MAP{number:02}" for number in range(1, 33))
ALL_MAPS = (*MAPS, *(f"E{part}M{number}" for part in range(1, 5) for number in range(1, 10)))


@dataclass(frozen=True, kw_only=True)
class VizdoomWorld(World):
    """Settings of a world of walks; every field changes the clips.

    Attributes:
        clips: number of clips; best a multiple of 7, the number of actions.
        fps: frames per second; 35 divided by a whole number.
        maps: names of the maps, from MAP01 to MAP32 and from E1M1 to E4M9; all of MAP01 to MAP32
            by default.
    """

    clips: Annotated[int, Option("N")]
    fps: Annotated[float, Option("FPS")] = 17.5
    maps: Annotated[tuple[str, ...], Unset("MAP,...", commas=True)] = MAPS

    def __post_init__(self) -> None:
        super().__post_init__()
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
class RenderVizdoom(VizdoomWorld, Rendering):
    """Render walks through the maps of Freedoom: clips with the action, depth and objects.
    $ ivn data render vizdoom --clips 700 --out DIR

    The world needs VizDoom: pip install "ivn[vizdoom]". Each clip shows one action. Its depth, the
    positions of the camera, the commands and the boxes of all objects in view are stored beside it,
    and DIR/manifest.parquet names them all: see docs/data.md#the-rendered-worlds.

    The same seed gives the same files, bit for bit, whatever the number of workers. A clip in which
    the player was stuck, fell, saw next to nothing or had no room is rendered again at another
    position; a line at the end says how often. After any kind of stop, the same command renders
    the clips that are not there yet. Nothing is overwritten.
    """

    def __post_init__(self) -> None:
        Rendering.__post_init__(self)
        VizdoomWorld.__post_init__(self)
