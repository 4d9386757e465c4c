"""``ivn data render``: a world rendered with a bar to look at, and a line of what came of it."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ivn.corpus.worlds.engine import MAPS
from ivn.corpus.worlds.options import Render
from ivn.corpus.worlds.world import World, render
from ivn.processes import cores


def render_world(options: Render) -> int:
    """Render into the folder; gives 0.

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
    console = Console(highlight=False, soft_wrap=True)
    columns = MofNCompleteColumn(), BarColumn(None), TimeRemainingColumn()
    start = time.perf_counter()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=options.clips)
        done = render(
            world,
            Path(options.out),
            workers=options.workers or cores(),
            report=lambda there, of: bar.update(task, completed=there, total=of),
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
