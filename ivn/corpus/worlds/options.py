"""Options that all worlds of ``ivn data render`` share."""

from dataclasses import dataclass
from typing import Annotated

from ivn.corpus.limits import Workers
from ivn.errors import RequestError
from ivn.options import Option

MAX_SIZE = 480


@dataclass(frozen=True, kw_only=True)
class World:
    """Settings of a world; every field changes the clips.

    Attributes:
        clips: number of clips.
        frames: number of frames of each clip.
        size: side of a frame in pixels; an even number from 32 to 480.
        seed: seed of everything that is random.
    """

    clips: Annotated[int, Option("N")]
    frames: Annotated[int, Option("N")] = 16
    size: Annotated[int, Option("PIXELS")] = 112
    seed: Annotated[int, Option("N")] = 0

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise RequestError(f"{self.clips} clips: expected at least 1")
        if not 2 <= self.frames <= 10000:
            raise RequestError(f"clips of {self.frames} frames: expected 2 to 10000")
        if self.size % 2 or not 32 <= self.size <= MAX_SIZE:
            raise RequestError(f"frames of {self.size} pixels: expected 32 to {MAX_SIZE}, even")
        if not 0 <= self.seed < 2**63:
            raise RequestError(f"seed {self.seed}: expected 0 up to below 2**63")


@dataclass(frozen=True, kw_only=True)
class Rendering(Workers):
    """Where a world is rendered to, and how much at the same time.

    Attributes:
        out: folder for the clips and manifest.parquet; new, or one that the same command began.
    """

    out: Annotated[str, Option("DIR")]
