"""``ivn data render``: a world rendered with a bar, and a summary."""

import time
from pathlib import Path

from ivn.corpus.worlds.engine import MAPS
from ivn.corpus.worlds.options import Render
from ivn.corpus.worlds.world import World, render
from ivn.processes import cores
from ivn.progress import bars, output


def render_world(options: Render) -> int:
    """Renders into the folder; returns 0.

    Raises:
        DataError: see :func:`ivn.corpus.worlds.world.render`.
    """
    world = World(
        options.clips,
        options.frames,
        options.size,
        options.fps,
        options.seed,
        options.maps or MAPS,
    )
    console = output()
    start = time.perf_counter()
    with bars(console) as shown:
        bar = shown.add(total=options.clips)
        done = render(
            world,
            Path(options.out),
            workers=options.workers or cores(),
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
