"""Commands on videos before anything is trained: ``ivn data COMMAND``."""

from typing import Annotated, Literal

import tyro

from ivn.errors import UsageError

from .app import Commands, Flag, Settings, app, optional
from .training import named_preset

data = Commands("ivn data")
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
    from ivn.corpus.worlds.command import render_world

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
    ray: Annotated[str, optional("ADDRESS")] = "",
) -> int:
    """Write one manifest of the videos in folders, lists, tars and published annotations.
    $ ivn data index FOLDER LIST.csv SHARDS/*.tar -o M.parquet

    Bad items are named with their reason, once; the others are indexed. Stopped, it goes on when
    the command is given again.

    Args:
        places: folders (with all below), videos, images, lists, tars (WebDataset) and manifests;
            with --format the files of that format.
        out: a new manifest.
        format: whose annotations the files are, such as kinetics400, ssv2 or ava; auto where the
            files themselves show it.
        videos: where the videos of a --format are.
        probe: read size, rate, codec and more from each file's packets.
        hash: read all bytes of each file for their SHA-256.
        seconds: that a file may take.
        workers: files looked at at a time; one for each core by default.
        max_bad: the largest share of bad items that is still a success.
        ray: a cluster to do it on: auto, HOST:PORT, ray://HOST:PORT, or local for one here.
    """
    if not places:
        raise UsageError("give at least one SOURCE: ivn data index SOURCE... -o M.parquet")
    if bool(format) != bool(videos):
        raise UsageError("--format NAME and --videos DIR belong together")
    _check_limits(seconds, workers, max_bad)
    from ivn.corpus.index.command import Request, index

    return index(Request(places, out, format, videos, probe, hash, seconds, workers, max_bad, ray))


@data.command(name="check")
def run_check(
    manifest: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="M.parquet")]],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="CHECKED.parquet")],
    seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 120.0,
    workers: Annotated[int, optional("N")] = 0,
    max_bad: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.05,
    ray: Annotated[str, optional("ADDRESS")] = "",
) -> int:
    """Decode every video of a manifest, and write which can be used and why the others cannot.

    The new manifest has all rows, each with its status; training and all else leave out those
    whose status is a reason. CHECKED.bad.txt lists them. Stopped, it goes on when the command is
    given again.

    Args:
        manifest: of the videos.
        out: a new manifest.
        seconds: that a video may take; one that takes longer, or crashes the decoder, is bad.
        workers: videos decoded at a time; one for each core by default.
        max_bad: the largest share of bad rows that is still a success.
        ray: a cluster to do it on: auto, HOST:PORT, ray://HOST:PORT, or local for one here.
    """
    _check_limits(seconds, workers, max_bad)
    from ivn.corpus.check.command import Request, check

    return check(Request(manifest, out, seconds, workers, max_bad, ray))


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
    seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 120.0,
    max_bad: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.05,
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
        seconds: that a video, or a comparison of two, may take.
        max_bad: the largest share of rows that cannot be read that is still a success.
    """
    if not manifests:
        raise UsageError("give at least one M: ivn data mix M... -o MIX.parquet")
    _check_limits(seconds, workers, max_bad)
    from ivn.corpus.mix.command import mix_manifests

    return mix_manifests(manifests, out, recipe, weight, workers, seconds, max_bad)


@data.command(name="transcode")
def run_transcode(
    manifest: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="M.parquet")]],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    short: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 256,
    gop: Annotated[int, tyro.conf.arg(metavar="N")] = 30,
    codec: Literal["h264", "vp9", "mjpeg"] = "h264",
    crf: Annotated[int, optional("N")] = -1,
    workers: Annotated[int, optional("N")] = 0,
    seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 3600.0,
    max_bad: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1,
) -> int:
    """Make videos anew for training: smaller, with key frames where they are needed, no sound.

    Frames are turned upright and keep their time stamps; a window that a row has of its video is
    cut out. Each file is decoded again before it gets its name. A call that was cut off goes on
    when it is given again; nothing is overwritten.

    Args:
        manifest: of the videos; ivn data index makes one.
        out: a folder for clips and manifest.parquet: new, or one that the same command began.
        short: most pixels of a frame's short side; 0 keeps every size.
        gop: most frames from key frame to key frame.
        codec: h264 is read by everything.
        crf: quality on the codec's scale, less is better, 0 is lossless in h264; by default 20,
            vp9 28, mjpeg 3.
        workers: clips made at a time; one for each core by default.
        seconds: that a clip may take.
        max_bad: fail where more than this share of the rows have a video that cannot be used.
    """
    from ivn.corpus.transcode.command import transcode_manifest
    from ivn.corpus.transcode.encoding import Encoding, usual_crf
    from ivn.corpus.transcode.run import Limits
    from ivn.processes import cores

    encoding = Encoding(codec, usual_crf(codec) if crf == -1 else crf, short, gop)
    limits = Limits(workers or cores(), seconds, max_bad)
    return transcode_manifest(manifest, out, encoding, limits)


@data.command(name="shard")
def run_shard(
    manifest: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="M.parquet")]],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    size: Annotated[int, tyro.conf.arg(metavar="MB")] = 256,
    frames: Annotated[int, optional("N")] = 0,
    short: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 256,
    codec: Literal["h264", "vp9", "mjpeg"] = "h264",
    crf: Annotated[int, optional("N")] = -1,
    workers: Annotated[int, optional("N")] = 0,
    seconds: Annotated[float, tyro.conf.arg(metavar="S")] = 3600.0,
    max_bad: Annotated[float, tyro.conf.arg(metavar="SHARE")] = 0.1,
) -> int:
    """Pack videos into tars (WebDataset's layout), with manifest.parquet as their index.

    Given a number of frames, each clip is made anew of so many of its own, every one a key frame,
    so that reading some of them costs a fraction. A call that was cut off goes on when it is given
    again; nothing is overwritten.

    Args:
        manifest: of the videos; ivn data index makes one.
        out: a folder for the tars and manifest.parquet: new, or one that the same command began.
        size: of a tar, at least, but for the last.
        frames: to keep of each clip, evenly spread; without it files are packed as they are, and
            of the options below only --max-bad means something.
        short: most pixels of a frame's short side; 0 keeps every size.
        codec: h264 is read by everything, mjpeg is read faster and is larger.
        crf: quality on the codec's scale, less is better; by default 20, vp9 28, mjpeg 3.
        workers: clips made at a time; one for each core by default.
        seconds: that a clip may take.
        max_bad: fail where more than this share of the rows have a video that cannot be used.
    """
    from ivn.corpus.shard.command import shard_manifest
    from ivn.corpus.shard.run import ShardSettings
    from ivn.corpus.transcode.encoding import Encoding, usual_crf
    from ivn.corpus.transcode.run import Limits
    from ivn.processes import cores

    encoding = Encoding(codec, usual_crf(codec) if crf == -1 else crf, short, 1)
    limits = Limits(workers or cores(), seconds, max_bad)
    return shard_manifest(manifest, out, ShardSettings(size, frames, encoding), limits)


@data.command(name="view")
def run_view(
    clips_of: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="M.parquet")]],
    /,
    *,
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="SHEET.html")],
    preset: Annotated[str, optional("PRESET")] = "",
    run: Annotated[str, optional("RUN")] = "",
    clips: Annotated[int, tyro.conf.arg(metavar="N")] = 8,
    seed: Annotated[int, optional("N")] = -1,
    settings: Settings = (),
) -> int:
    """Draw the first samples of a training, exactly as it will see them: frames, crops, masks.

    Args:
        clips_of: a manifest; or a folder, a video or a list.
        out: a new .html file.
        preset: a named config, stage1-base by default; ivn config lists them.
        run: a run, whose config is taken instead.
        clips: how many, from the first on.
        seed: of the training, instead of the config's own.
        settings: fields to change, such as stage.mask=tube.
    """
    if preset and run:
        raise UsageError("give --preset PRESET or --run RUN, not both")
    from pathlib import Path

    from ivn.config.run import override, read
    from ivn.report.contact.command import seeded, view

    config = read(Path(run) / "config.toml") if run else named_preset(preset or "stage1-base")
    changes = [assignment for group in settings for assignment in group]
    config = seeded(override(config, *changes), seed)
    return view(clips_of, out, config, run=Path(run) if run else None, clips=clips)
