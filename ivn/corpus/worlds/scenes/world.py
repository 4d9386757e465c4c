"""Drawn scenes, rendered several at a time. A clip follows from the seed and its number alone."""

from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ivn.corpus.pool import in_processes
from ivn.corpus.worlds.files import write_clip
from ivn.corpus.worlds.rendering import ClipFiles, Rendered, Report, known_row, render_missing
from ivn.corpus.worlds.scenes.options import ScenesWorld
from ivn.corpus.worlds.scenes.scene import draw_classes, draw_scene
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError
from ivn.keys import Purpose, make_keys
from ivn.ops.random import random_words

TARGETS = ("depth", "pose", "boxes")
RATE = Fraction(8)
# A change to what is drawn changes this number: begun folders are then refused.
DRAWING = 1
_IN_A_FOLDER = 1000
_SECONDS = 120.0
_LAYER = 3  # of Purpose.WORLD


def render(
    world: ScenesWorld, out: Path, *, workers: int, report: Report = lambda done, of: None
) -> Rendered:
    """Renders the clips of ``world`` that are not in the folder ``out``, then writes its manifest.

    Args:
        world: settings of the world.
        out: folder that is new, empty, or begun by an earlier call for the same world.
        workers: number of processes; changes no clip.
        report: function that is called with the number of clips that are there, and of all.

    Raises:
        DataError: the folder holds something else or the whole world already, or a process fails.
    """
    settings = asdict(world) | {"drawing": DRAWING}
    files = [_files(clip) for clip in range(world.clips)]
    make = partial(_render, world, out.absolute(), workers)
    return render_missing(out, settings, files, make, partial(_row, world), report)


def _render(world: ScenesWorld, out: Path, workers: int, clips: list[int]) -> Iterator[int]:
    write = partial(_write, world, out)
    for outcome in in_processes(write, clips, workers=workers, seconds=_SECONDS):
        if outcome.reason:
            raise DataError(f"clip {outcome.item} could not be rendered: {outcome.reason}")
        yield 0


def _write(world: ScenesWorld, out: Path, clip: int) -> None:
    """Writes a clip's files."""
    scene = draw_scene(_generator(world, clip), world.frames, world.size)
    files = _files(clip).below(out)
    write_clip(files.video, files.known, scene.frames, RATE, scene.truth())


def _generator(world: ScenesWorld, clip: int) -> np.random.Generator:
    """Returns a clip's own random numbers."""
    keys = make_keys(world.seed, 0, [clip])
    words = random_words(keys, Purpose.WORLD, 4, layer=_LAYER)[0].tolist()
    return np.random.Generator(np.random.Philox(key=[words[0] | words[1] << 32, words[2]]))


def _files(clip: int) -> ClipFiles:
    return ClipFiles.named(Path(f"{clip // _IN_A_FOLDER:03}", f"{clip:06}"))


def _row(world: ScenesWorld, clip: int) -> Row:
    return known_row(
        _files(clip),
        world="scenes",
        labels=asdict(draw_classes(_generator(world, clip))),
        group=f"scenes {world.seed} {clip}",
        targets=TARGETS,
        size=world.size,
        frames=world.frames,
        rate=RATE,
        extra={"seed": str(world.seed), "clip": str(clip)},
    )
