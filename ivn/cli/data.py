"""Commands on videos before anything is trained: ``ivn data COMMAND``."""

from typing import Annotated, Literal

import tyro

from .app import Flag, UsageError, app, optional

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


@data.command(name="index")
def run_index(
    places: tyro.conf.Positional[Annotated[tuple[str, ...], optional("SOURCE ...")]] = (),
    /,
    *,
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="M.parquet")],
    format: Annotated[str, optional("NAME")] = "",
    videos: Annotated[str, optional("DIR")] = "",
    probe: bool = True,
    hash: Flag = False,
    seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 30.0,
    workers: Annotated[int, optional("N")] = 0,
    max_bad: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.05,
) -> int:
    """Write one manifest of the videos in folders, lists, tars and published annotations.
    $ ivn data index FOLDER LIST.csv SHARDS/*.tar -o M.parquet

    Bad items are named with their reason, once; the others are indexed. Stopped, it goes on when
    the command is given again.

    Args:
        places: folders (with all below), videos, lists, tars (WebDataset) and manifests; with
            --format the files of that format.
        out: a new manifest.
        format: whose annotations the files are, such as kinetics400, ssv2 or ava.
        videos: where the videos of a --format are.
        probe: read size, rate, codec and more from each file's packets.
        hash: read all bytes of each file for their SHA-256.
        seconds: that a file may take.
        workers: files looked at at a time; one for each core by default.
        max_bad: the largest share of bad items that is still a success.
    """
    if not places:
        raise UsageError("give at least one SOURCE: ivn data index SOURCE... -o M.parquet")
    if bool(format) != bool(videos):
        raise UsageError("--format NAME and --videos DIR belong together")
    _check_limits(seconds, workers, max_bad)
    from ivn.data.index.command import Request, index

    return index(Request(places, out, format, videos, probe, hash, seconds, workers, max_bad))


def _check_limits(seconds: float, workers: int, max_bad: float) -> None:
    if not seconds > 0 or workers < 0 or not 0 <= max_bad <= 1:
        raise UsageError(
            f"--seconds {seconds:g}, --workers {workers}, --max-bad {max_bad:g}: expected more "
            "than 0, 0 or more, and 0 to 1"
        )


@data.command(name="mix")
def run_mix(
    manifests: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="M ...")]],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="MIX.parquet")],
    recipe: Annotated[str, optional("NAME|FILE")] = "",
    weight: Annotated[tuple[str, ...], optional("NAME=X ...")] = (),
    workers: Annotated[int, optional("N")] = 0,
) -> int:
    """Make one manifest of several, without copies.

    Copies are found by their bytes and by what they show, in whatever encoding, size and name;
    of copies the row of the manifest named first stays. MIX.mix.json says how many went and why,
    MIX.dropped.csv which. A mix that was cut off goes on when the command is given again; nothing
    is overwritten.

    Args:
        manifests: parquet files, each as a path or as NAME=path.
        out: the new manifest.
        recipe: k710, k-mash or a file that ends in .toml: which sources, and their rules.
        weight: of a source's rows in sampling, by the source's name; 1 by default.
        workers: videos read at a time; one for each core by default.
    """
    from ivn.data.mix.command import mix_manifests

    return mix_manifests(manifests, out, recipe, weight, workers)
