"""Commands on what was learnt: features, probes, predictions, and the page that shows all."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from ivn.errors import UsageError

from .app import NO_SIZES, Flag, Sizes, app, optional


@app.command(name="embed")
def run_embed(
    videos: tyro.conf.Positional[Annotated[tuple[str, ...], optional("VIDEO ...")]] = (),
    /,
    *,
    encoder: Annotated[str, tyro.conf.arg(metavar="E")],
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    pool: Annotated[
        Literal["none", "frames", "mean", "attn", "cls"], tyro.conf.arg(metavar="POOL")
    ] = "mean",
    window: Annotated[int, optional("FRAMES")] = 0,
    stride: Annotated[int, optional("FRAMES")] = 0,
    fps: Annotated[float, optional("FPS")] = 0.0,
    tail: Annotated[Literal["drop", "cover"], tyro.conf.arg(metavar="drop|cover")] = "drop",
    frames: Annotated[int, optional("T")] = 0,
    size: Annotated[int, optional("S")] = 0,
    layer: Annotated[int, tyro.conf.arg(metavar="N")] = -1,
    dtype: Annotated[
        Literal["float32", "bfloat16"], tyro.conf.arg(metavar="float32|bfloat16")
    ] = "float32",
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 8,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    sizes: Sizes = NO_SIZES,
) -> int:
    """Write the features of videos of any length to a file, window by window.

    Cut off, it goes on when the command is given again. Broken videos are named and skipped, and
    make the exit code 1.

    Args:
        videos: files, folders, lists or manifests.
        encoder: a run, a .safetensors file, a preset (random weights), a hub id, timm:NAME,
            hf:ID, or raw.
        out: a new file: .npz, .safetensors or .parquet.
        pool: none, frames, mean, attn or cls: tokens, their mean over space or over all, the
            encoder's pooling head, or its cls tokens.
        window: frames of a window; as many as the encoder sees by default.
        stride: frames from the start of a window to that of the next; those of a window by default.
        fps: frames a second to take; all that are in the file by default.
        tail: last frames that do not fill a window are left out (drop), or one more window ends
            with them (cover).
        frames: frames that the encoder sees of a window, instead of its own number.
        size: side of those frames in pixels, instead of its own.
        layer: block behind which features are taken, counted from 0, or back from the last, -1.
        dtype: number type in which the encoder computes; the file holds float32.
        batch_size: windows that the encoder is given at a time.
        device: cpu or cuda; auto takes the GPU where there is one.
        sizes: the sizes of an encoder whose weights have no config.json beside them.
    """
    if not videos:
        raise UsageError("give at least one VIDEO: ivn embed VIDEO... --encoder E -o FILE")
    from ivn.embed.run import Request, embed, loader

    request = Request(videos, pool, Path(out), window, stride, fps, tail, batch_size)
    seen = loader(
        encoder,
        device,
        frames=frames,
        size=size,
        layer=layer,
        dtype=dtype,
        sizes=sizes.given(),
    )
    return embed(request, seen)


# Options that some probes have no use for, and their defaults.
_TRAINED: tuple[tuple[str, object], ...] = (
    *(("test", ""), ("heads", "linear,knn"), ("tokens", "all"), ("train_views", 1), ("folds", 5)),
    *(("holdout", False), ("epochs", 20), ("batch", 64), ("lr", ()), ("wd", ())),
)
_VIEWED: tuple[tuple[str, object], ...] = (
    *(("label", "label"), ("pool", "mean"), ("clips", 1), ("crops", 1)),
)


@app.command(name="probe")
def run_probe(
    task: tyro.conf.Positional[Literal["classify", "motion", "retrieve"]],
    /,
    *,
    encoder: Annotated[tuple[str, ...], optional("E ...")] = (),
    data: Annotated[str, optional("FOLDER|LIST")] = "",
    test: Annotated[str, optional("LIST")] = "",
    label: Annotated[str, tyro.conf.arg(metavar="NAME")] = "label",
    heads: Annotated[str, tyro.conf.arg(metavar="KIND,...")] = "linear,knn",
    pool: Annotated[
        Literal["mean", "frames", "attn", "cls"], tyro.conf.arg(metavar="POOL")
    ] = "mean",
    tokens: Annotated[Literal["all", "frames"], tyro.conf.arg(metavar="TOKENS")] = "all",
    clips: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    crops: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    train_views: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    folds: Annotated[int, tyro.conf.arg(metavar="N")] = 5,
    holdout: Flag = False,
    epochs: Annotated[int, tyro.conf.arg(metavar="N")] = 20,
    batch: Annotated[int, tyro.conf.arg(metavar="N")] = 64,
    lr: Annotated[tuple[float, ...], optional("LR ...")] = (),
    wd: Annotated[tuple[float, ...], optional("WD ...")] = (),
    frames: Annotated[int, optional("T")] = 0,
    size: Annotated[int, optional("S")] = 0,
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 2,
    cache: Annotated[str, optional("DIR")] = "",
    out: Annotated[str, optional("DIR")] = "",
    sizes: Sizes = NO_SIZES,
) -> int:
    """Measure what frozen encoders have learnt, beside baselines.
    $ ivn probe classify --encoder RUN --data LIST --label NAME
    $ ivn probe classify --encoder RUN hf:FOLDER --data LIST --test LIST --heads meanquery

    Videos are judged by heads that saw no video of their group, file or content. Raw pixels, and
    for a run its random-weight twin, stand beside. The last line printed is the result as JSON.

    Args:
        task: classify, the classes of labelled videos; motion, ten camera motions over frames of
            the data, or of bundled clips; retrieve, the nearest videos.
        encoder: runs, weights, presets, hub ids, timm:NAME, hf:FOLDER or raw; all share one split.
        data: a folder, a list or a manifest of videos.
        test: videos to judge by, instead of folds of the data.
        label: name of the label to predict; several values, parted by ";", are told one by one.
        heads: some of linear, knn, attentive, attentive4, meanquery.
        pool: features that linear, knn and retrieve read: mean, frames, attn or cls.
        tokens: input of heads with attention, all tokens or their mean over each frame (frames).
        clips: clips of each tested video; probabilities are averaged over clips x crops.
        crops: crops of each of those clips.
        train_views: views of each training video, the central one and random ones.
        folds: parts of the data, each judged by heads of the others.
        holdout: judge one of the folds alone.
        epochs: of the training of heads.
        batch: samples of one of its steps.
        lr: learning rates of the grid, instead of the kind's own.
        wd: weight decays of the grid, instead of the kind's own.
        frames: frames that encoders see, instead of their own number.
        size: side of those frames in pixels, instead of their own.
        seed: of splits, heads, random views and intervals.
        device: cpu or cuda; auto takes the GPU where there is one.
        workers: threads that decode.
        cache: a folder for features, which are computed once; ~/.cache/ivn/features by default.
        out: a new folder for result.json and heads; RUN/probes/TASK where the encoder is a run.
        sizes: the sizes of encoders whose weights have no config.json beside them.
    """
    if not encoder:
        raise UsageError("give --encoder E: a run, weights, a preset, a hub id or raw")
    if task != "motion" and not data:
        raise UsageError(f"ivn probe {task}: give --data FOLDER|LIST")
    from ivn.evaluate.command import (
        Clips,
        Place,
        Training,
        run_classify,
        run_motion,
        run_retrieve,
    )

    place, seen = Place(device, workers, cache, out), Clips(frames, size, sizes.given())
    training = Training(epochs, batch_size=batch, seed=seed, device=place.resolved_device())
    if task != "classify":
        own = [*_TRAINED, *(_VIEWED if task == "motion" else ())]
        given = locals()
        if unused := [name for name, default in own if given[name] != default]:
            option = unused[0].replace("_", "-")
            raise UsageError(f"ivn probe {task} has no use for --{option}")
    if task == "motion":
        return run_motion(encoder, data=data, seed=seed, clips=seen, place=place)
    if task == "retrieve":
        return run_retrieve(
            encoder,
            data=data,
            label=label,
            pool=pool,
            views=(clips, crops),
            seed=seed,
            clips=seen,
            place=place,
        )
    return run_classify(
        encoder,
        data=data,
        test=test,
        label=label,
        heads=tuple(filter(None, heads.split(","))),
        pool=pool,
        tokens="none" if tokens == "all" else tokens,
        views=(clips, crops, train_views),
        folds=folds,
        holdout=holdout,
        lr=lr,
        wd=wd,
        training=training,
        clips=seen,
        place=place,
    )


@app.command(name="predict")
def run_predict(
    videos: tyro.conf.Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="VIDEO ...")]],
    /,
    *,
    head: Annotated[str, optional("HEAD")] = "",
    encoder: Annotated[str, optional("E")] = "",
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 5,
    json: Flag = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    sizes: Sizes = NO_SIZES,
) -> int:
    """Say which classes videos are of, by a head that ivn probe classify has saved.
    $ ivn predict VIDEO --head RUN/probes/classify

    Args:
        videos: files, folders or lists.
        head: a saved head (NAME.safetensors), or the folder of a result for its best.
        encoder: where the encoder is now, if it was moved; any other is refused.
        top: how many classes to print.
        json: print all classes, for programs.
        device: cpu or cuda; auto takes the GPU where there is one.
        sizes: the sizes of an encoder whose weights have no config.json beside them.
    """
    if not videos or not head:
        raise UsageError("give VIDEO ... and --head HEAD")
    from ivn.evaluate import command as probing

    return probing.run_predict(
        videos,
        head=head,
        encoder=encoder,
        top=top,
        as_json=json,
        device=device,
        sizes=sizes.given(),
    )


@app.command(name="report")
def run_report(
    runs: tyro.conf.Positional[Annotated[tuple[str, ...], optional("RUN ...")]] = (),
    /,
    *,
    out: Annotated[
        str, tyro.conf.arg(aliases=["-o"], metavar="FILE.html", help_behavior_hint="")
    ] = "",
    clips: Annotated[str, optional("FOLDER|LIST")] = "",
) -> int:
    """Show what runs have learnt, side by side, on one page that opens offline.

    Loss curves, masks, the teacher's attention, reconstructions, features over time, nearest
    neighbours, probes, configs, timing. What a run lacks is told on the page, with the reason.

    Args:
        runs: folders of runs.
        out: a new file; without it report.html in the first run's folder, replaced if it is there.
        clips: clips to draw instead of those that the runs were trained on.
    """
    if not runs:
        raise UsageError("give at least one RUN: ivn report RUN...")
    from ivn.report.collect.write import report

    return report([Path(run) for run in runs], out=out, clips=clips)
