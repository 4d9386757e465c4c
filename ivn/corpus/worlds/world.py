"""Rendering of a world's clips into a folder, several at a time, continued after a stop.

Clip ``i`` shows action ``i`` modulo 7 in map ``i // 7`` modulo the number of maps: classes and maps
are balanced. All else in it follows from (seed, i) alone.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from ivn.corpus.worlds.engine import PREROLL_TICS, Engine, imported
from ivn.corpus.worlds.files import TARGETS, write_clip
from ivn.corpus.worlds.moves import ACTIONS, Geometry, clip_key, find_start, plan
from ivn.corpus.worlds.options import TICS_PER_SECOND, World
from ivn.data.manifest.parquet import Row, write_manifest
from ivn.durable import MANIFEST, filling
from ivn.errors import DataError

SETTINGS = "render.json"
# Attempts at a clip: places where the player gets stuck are common in narrow maps.
_DRAWS = 256


@dataclass(frozen=True)
class Rendered:
    """The result of :func:`render`.

    Attributes:
        manifest: path of the manifest.
        clips: number of clips rendered by this call.
        kept: number of clips from an earlier call.
        redrawn: number of attempts given up, because the player was stuck, fell or had no room.
    """

    manifest: Path
    clips: int
    kept: int
    redrawn: int


def render(
    world: World,
    out: Path,
    *,
    workers: int,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> Rendered:
    """Renders the clips of ``world`` that are not in the folder ``out``, then writes its manifest.

    Args:
        world: settings of the world.
        out: folder that is new, empty, or begun by an earlier call for the same world.
        workers: number of engines that run at the same time; changes no clip.
        report: called with the number of clips that are there, and of all.

    Raises:
        DataError: VizDoom is not installed or fails, the folder holds something else or the whole
            world already, or a map has no room for an action.
    """
    engine = f"vizdoom {imported().__version__}"
    out = out.absolute()
    settings = asdict(world) | {"engine": engine}
    with filling(out, settings, SETTINGS, below=("*",)):
        there = {clip for clip in range(world.clips) if _files(world, out, clip)[0].exists()}
        # By maps, so that a map's geometry is computed when its turn comes.
        order = sorted(set(range(world.clips)) - there, key=lambda i: (_map_of(world, i), i))
        for name in {_map_of(world, clip) for clip in order}:
            (out / name).mkdir(exist_ok=True)
        redrawn = 0
        with _Studio(world, out) as studio, ThreadPoolExecutor(workers) as pool:
            futures = [pool.submit(studio.render, clip) for clip in order]
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    redrawn += future.result()
                    report(len(there) + done, world.clips)
            finally:
                pool.shutdown(cancel_futures=True)
        rows = [_row(world, clip, engine) for clip in range(world.clips)]
        write_manifest(out / MANIFEST, rows)
    return Rendered(out / MANIFEST, len(order), len(there), redrawn)


class _Studio(ExitStack):
    """Running engines, one for each thread and WAD, and the geometry of maps, computed once."""

    def __init__(self, world: World, out: Path) -> None:
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
                video, known = _files(world, self.out, clip)
                rate = Fraction(TICS_PER_SECOND, world.tics)
                write_clip(video, known, take, planned, rate)
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


def _map_of(world: World, clip: int) -> str:
    return world.maps[clip // len(ACTIONS) % len(world.maps)]


def _files(world: World, out: Path, clip: int) -> tuple[Path, Path]:
    """Returns the paths of video and npz of a clip."""
    stem = out / _map_of(world, clip) / f"{clip:06}"
    return stem.with_suffix(".mp4"), stem.with_suffix(".npz")


def _row(world: World, clip: int, engine: str) -> Row:
    name = _map_of(world, clip)
    video, known = (file.as_posix() for file in _files(world, Path(), clip))
    rate = TICS_PER_SECOND / world.tics
    return Row(
        video,
        labels={"action": _action_of(clip), "map": name},
        targets=dict.fromkeys(TARGETS, known),
        source="vizdoom",
        group=name,
        width=world.size,
        height=world.size,
        fps=rate,
        frames=world.frames,
        duration=world.frames / rate,
        codec="h264",
        flip=False,  # left and right are what the labels are about
        extra={"seed": str(world.seed), "clip": str(clip), "engine": engine},
    )
