"""Commands on videos before anything is trained: ``ivn data COMMAND``."""

from typing import Annotated, Literal

import tyro

from .app import app, optional

data = tyro.extras.SubcommandApp()
app.command(data, name="data", help="Prepare videos, before anything is trained.")


@data.command(name="render")
def run_render(
    world: tyro.conf.Positional[Literal["vizdoom"]],
    /,
    *,
    clips: Annotated[int, tyro.conf.arg(metavar="N")],
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 16,
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 112,
    fps: Annotated[float, tyro.conf.arg(metavar="FPS")] = 17.5,
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    maps: Annotated[str, optional("MAP,...")] = "",
    workers: Annotated[int, optional("N")] = 0,
) -> int:
    """Render a world with ground truth: clips, the action in each, depth, objects, positions.

    Needs VizDoom: pip install "ivn[vizdoom]". The same seed gives the same clips. A rendering that
    was cut off goes on when the command is given again; nothing is overwritten.

    Args:
        world: vizdoom, a walk through the maps of Freedoom.
        clips: how many, best a multiple of 7, the number of actions.
        out: a folder: new, or one that the same command began.
        frames: of a clip.
        size: of a frame, which is square.
        fps: frames a second, 35 over a whole number.
        seed: of everything random.
        maps: some of MAP01 to MAP32 and E1M1 to E4M9; the former by default.
        workers: clips rendered at a time; one for each core by default.
    """
    from ivn.data.render.command import render_world

    named = tuple(filter(None, maps.split(",")))
    return render_world(clips, out, frames, size, fps, seed, named, workers)
