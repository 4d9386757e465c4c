"""``ivn data render``: a world rendered with a bar to look at, and a line of what came of it."""

import time
from pathlib import Path

from ivn.corpus.worlds.engine import MAPS
from ivn.corpus.worlds.world import World, render
from ivn.processes import cores
from ivn.progress import bars, output


def render_world(
    clips: int,
    out: str,
    frames: int,
    size: int,
    fps: float,
    seed: int,
    maps: tuple[str, ...],
    workers: int,
) -> int:
    """Render into the folder ``out``; gives 0.

    Args:
        clips, frames, size, fps, seed: as in :class:`ivn.corpus.worlds.world.World`.
        out: the folder.
        maps: as there; none means all of the first WAD.
        workers: clips at a time; 0 means one for each core that this process may use.

    Raises:
        DataError: see :func:`ivn.corpus.worlds.world.render`.
    """
    world = World(clips, frames, size, fps, seed, maps or MAPS)
    console = output()
    start = time.perf_counter()
    with bars(console) as shown:
        bar = shown.add(total=clips)
        done = render(
            world,
            Path(out),
            workers=workers or cores(),
            report=lambda there, of: bar.update(there, total=of),
        )
    seconds = time.perf_counter() - start
    earlier = f", {done.kept} from before" if done.kept else ""
    console.print(
        f"{done.clips} clips rendered{earlier}, {done.clips / seconds:.1f} clips/s; "
        f"{done.redrawn} times another place was drawn",
        markup=False,
    )
    console.print(done.manifest.as_posix(), markup=False)
    return 0
