"""``ivn data render``: a world rendered with a bar, and a summary."""

import time
from dataclasses import fields
from pathlib import Path

from ivn.corpus.worlds.options import Render, World
from ivn.corpus.worlds.world import render
from ivn.progress import bars, output


def render_world(options: Render) -> int:
    """Renders into the folder; returns 0.

    Raises:
        DataError: see :func:`ivn.corpus.worlds.world.render`.
    """
    world = World(**{field.name: getattr(options, field.name) for field in fields(World)})
    console = output()
    start = time.perf_counter()
    with bars(console) as shown:
        bar = shown.add(total=options.clips)
        done = render(
            world,
            Path(options.out),
            workers=options.processes,
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
