"""Walks through the maps of Freedoom, rendered several at a time.

Clip ``i`` shows action ``i`` modulo 7 in map ``i // 7`` modulo the number of maps: classes and maps
are balanced. All else in it follows from (seed, i) alone.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from ivn.corpus.worlds.files import write_clip
from ivn.corpus.worlds.rendering import ClipFiles, Rendered, Report, known_row, render_missing
from ivn.corpus.worlds.vizdoom.engine import PREROLL_TICS, Engine, imported
from ivn.corpus.worlds.vizdoom.moves import (
    ACTIONS,
    Geometry,
    clip_key,
    find_start,
    plan,
)
from ivn.corpus.worlds.vizdoom.options import TICS_PER_SECOND, VizdoomWorld
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

TARGETS = ("depth", "pose", "actions", "boxes")
# Attempts at a clip: places where the player gets stuck are common in narrow maps.
_DRAWS = 256


def render(
    world: VizdoomWorld, out: Path, *, workers: int, report: Report = lambda done, of: None
) -> Rendered:
    """Renders the clips of ``world`` that are not in the folder ``out``, then writes its manifest.

    Args:
        world: settings of the world.
        out: folder that is new, empty, or begun by an earlier call for the same world.
        workers: number of engines that run at the same time; changes no clip.
        report: function that is called with the number of clips that are there, and of all.

    Raises:
        DataError: VizDoom is not installed or fails, the folder holds something else or the whole
            world already, or a map has no room for an action.
    """
    engine = f"vizdoom {imported().__version__}"
    return render_missing(
        out,
        asdict(world) | {"engine": engine},
        [_files(world, clip) for clip in range(world.clips)],
        partial(_render, world, out.absolute(), workers),
        partial(_row, world, engine),
        report,
    )


def _render(world: VizdoomWorld, out: Path, workers: int, clips: list[int]) -> Iterator[int]:
    # By maps, so that a map's geometry is computed when its turn comes.
    order = sorted(clips, key=lambda clip: (_map_of(world, clip), clip))
    with _Studio(world, out) as studio, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(studio.render, clip) for clip in order]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Studio(ExitStack):
    """Running engines, one for each thread and WAD, and the geometry of maps, computed once."""

    def __init__(self, world: VizdoomWorld, out: Path) -> None:
        super().__init__()
        self.world, self.out = world, out
        self._own = threading.local()
        self._lock = threading.Lock()
        self._scouts: dict[str, Engine] = {}
        self._geometry: dict[str, Geometry] = {}

    def render(self, clip: int) -> int:
        """Writes a clip's files; returns the number of attempts that were given up."""
        world = self.world
        name, action = _map_of(world, clip), _action_of(clip)
        tics = PREROLL_TICS + world.tics * world.frames
        engine = self._engine(self._own.__dict__, name, with_geometry=False)
        engine.over = True
        for draw in range(_DRAWS):
            key = clip_key(world.seed, clip, draw)
            planned = plan(action, world.frames, key)
            start = find_start(self._geometry_of(name), planned, tics, key)
            if start is None:
                continue
            if engine.over:
                engine.enter(name, planned.seed)
            take = engine.take(start, planned, world.tics)
            if take is not None:
                files = _files(world, clip).below(self.out)
                rate = Fraction(TICS_PER_SECOND, world.tics)
                truth = take.truth() | {"actions": planned.commands.astype(np.float32)}
                write_clip(files.video, files.known, take.frames, rate, truth)
                return draw
        raise DataError(
            f"{name} has no room for {world.frames} frames of {action} at {world.fps} a second "
            f"({_DRAWS} places tried): leave it out of --maps, or ask for shorter clips"
        )

    def _geometry_of(self, name: str) -> Geometry:
        with self._lock:
            if name not in self._geometry:
                scout = self._engine(self._scouts, name, with_geometry=True)
                self._geometry[name] = scout.geometry(name)
            return self._geometry[name]

    def _engine(self, engines: dict[str, Engine], name: str, *, with_geometry: bool) -> Engine:
        """Returns the engine, among a thread's, of the WAD that holds the map."""
        wad = name[0]
        if wad not in engines:
            engine = Engine(self.world.size, name, with_geometry=with_geometry)
            engines[wad] = self.enter_context(engine)
        return engines[wad]


def _action_of(clip: int) -> str:
    return tuple(ACTIONS)[clip % len(ACTIONS)]


def _map_of(world: VizdoomWorld, clip: int) -> str:
    return world.maps[clip // len(ACTIONS) % len(world.maps)]


def _files(world: VizdoomWorld, clip: int) -> ClipFiles:
    return ClipFiles.named(Path(_map_of(world, clip), f"{clip:06}"))


def _row(world: VizdoomWorld, engine: str, clip: int) -> Row:
    name = _map_of(world, clip)
    return known_row(
        _files(world, clip),
        world="vizdoom",
        labels={"action": _action_of(clip), "map": name},
        group=name,
        targets=TARGETS,
        size=world.size,
        frames=world.frames,
        rate=Fraction(TICS_PER_SECOND, world.tics),
        extra={"seed": str(world.seed), "clip": str(clip), "engine": engine},
    )
