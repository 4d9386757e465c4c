"""The ``ivn`` command.

Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly, 130 and 143 it was stopped.
Heavy imports wait until a command needs them, so that ``ivn --help`` is quick.
"""

import difflib
import io
import os
import shutil
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from ivn.config import Config

app = tyro.extras.SubcommandApp()

Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
    tyro.conf.arg(name="set", metavar="KEY=VALUE ..."),
]


def _optional(metavar: str) -> object:
    """An argument whose default, nothing, needs no words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


Flag = tyro.conf.FlagCreatePairsOff[Annotated[bool, tyro.conf.arg(help_behavior_hint="")]]
Preset = tyro.conf.Positional[Annotated[str, _optional("[PRESET]")]]
Names = tyro.conf.Positional[Annotated[tuple[str, ...], _optional("[PRESET | diff A B]")]]


class UsageError(Exception):
    """The command line contradicts itself or names what does not exist."""


@app.command(name="pretrain")
def pretrain(
    preset: Preset = "",
    /,
    *,
    config: Annotated[str, _optional("FILE.toml")] = "",
    data: Annotated[str, _optional("FOLDER|LIST")] = "",
    out: Annotated[str, _optional("RUN")] = "",
    init: Annotated[str, _optional("RUN")] = "",
    resume: Annotated[str, _optional("RUN")] = "",
    settings: Settings = (),
) -> int:
    """Pretrain a video encoder.
    $ ivn pretrain PRESET --data FOLDER --out RUN
    $ ivn pretrain --resume RUN

    Args:
        preset: a named config; ivn config lists them.
        config: a config saved before, instead of a preset.
        data: a folder of videos, or a list of them (csv or txt: path, or path and label, a line;
            or a manifest, .parquet).
        out: a new folder for the run.
        init: a run whose encoder and predictor to start from, as stage 2 does from stage 1.
        resume: a run to take up where its newest checkpoint left it.
        settings: fields to change, such as optim.lr=1e-3; they are listed below.
    """
    changes = [assignment for group in settings for assignment in group]
    if sum(map(bool, (preset, config, resume))) != 1:
        raise UsageError("give one of PRESET, --config FILE.toml or --resume RUN")
    if resume:
        if data or out or init:
            raise UsageError("--resume takes data, folder and first weights from the run itself")
        from ivn import run

        return run.resume(resume, changes=changes)
    if not data or not out:
        raise UsageError("give --data FOLDER|LIST and --out RUN")
    from ivn import run
    from ivn.config import override, read

    base = read(config) if config else _preset(preset)
    return run.start(override(base, *changes), data=data, out=out, init=init)


@app.command(name="config")
def show_config(names: Names = (), /, *, settings: Settings = ()) -> int:
    """Print a whole config as TOML, or how two differ, or the presets' names.
    $ ivn config PRESET
    $ ivn config diff A B

    Args:
        names: a preset or a saved FILE.toml; two after diff; without any, the presets are listed.
        settings: fields to change in the one that is printed, such as optim.lr=1e-3.
    """
    changes = [assignment for group in settings for assignment in group]
    match names:
        case () if not changes:
            from ivn.presets import PRESETS

            print("\n".join(PRESETS))
        case ("diff", one, other):
            if changes:
                raise UsageError("--set changes a config that is printed, not one of a diff")
            _print_differences(one, other)
        case (name,) if name != "diff":
            from ivn.config import override, to_toml

            print(to_toml(override(_named(name), *changes)), end="")
        case _:
            raise UsageError(
                f"ivn config {' '.join(names) or '--set'}: expected PRESET, or diff A B, or nothing"
            )
    return 0


@app.command(name="demo")
def run_demo(*, out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "ivn-demo") -> int:
    """Run both stages in miniature on the bundled clips, and measure what they learnt.

    Minutes on two cores. The measurement: how well a linear probe on frozen features tells ten
    camera motions apart, over real frames and drawn scenes, no scene in training and test alike.
    The trained encoder stands beside its random-weight twin and the image teacher, with chance,
    number of clips and 95% intervals. The last line printed is all of it as JSON.

    Args:
        out: a new folder for both runs and the picture.
    """
    from ivn.demo import demo

    return demo(Path(out))


@app.command(name="report")
def run_report(
    runs: tyro.conf.Positional[Annotated[tuple[str, ...], _optional("RUN ...")]] = (),
    /,
    *,
    out: Annotated[
        str, tyro.conf.arg(aliases=["-o"], metavar="FILE.html", help_behavior_hint="")
    ] = "",
    clips: Annotated[str, _optional("FOLDER|LIST")] = "",
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
    from ivn.gather.write import report

    return report([Path(run) for run in runs], out=out, clips=clips)


@app.command(name="embed")
def run_embed(
    videos: tyro.conf.Positional[Annotated[tuple[str, ...], _optional("VIDEO ...")]] = (),
    /,
    *,
    encoder: Annotated[str, tyro.conf.arg(metavar="E")],
    out: Annotated[str, tyro.conf.arg(aliases=["-o"], metavar="FILE")],
    pool: Annotated[
        Literal["none", "frames", "mean", "attn", "cls"], tyro.conf.arg(metavar="POOL")
    ] = "mean",
    window: Annotated[int, _optional("FRAMES")] = 0,
    stride: Annotated[int, _optional("FRAMES")] = 0,
    fps: Annotated[float, _optional("FPS")] = 0.0,
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 8,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
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
        batch_size: windows that the encoder is given at a time.
        device: cpu or cuda; auto takes the GPU where there is one.
    """
    if not videos:
        raise UsageError("give at least one VIDEO: ivn embed VIDEO... --encoder E -o FILE")
    from ivn.embed.run import Request, embed, loader

    request = Request(videos, pool, Path(out), window, stride, fps, batch_size)
    return embed(request, loader(encoder, device))


@app.command(name="data")
def run_data(
    what: tyro.conf.Positional[Literal["render"]],
    world: tyro.conf.Positional[Literal["vizdoom"]],
    /,
    *,
    clips: Annotated[int, tyro.conf.arg(metavar="N")],
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    frames: Annotated[int, tyro.conf.arg(metavar="N")] = 16,
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 112,
    fps: Annotated[float, tyro.conf.arg(metavar="FPS")] = 17.5,
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    maps: Annotated[str, _optional("MAP,...")] = "",
    workers: Annotated[int, _optional("N")] = 0,
) -> int:
    """Render a world with ground truth: clips, the action in each, depth, objects, positions.

    Needs VizDoom: pip install "ivn[vizdoom]". The same seed gives the same clips. A rendering that
    was cut off goes on when the command is given again; nothing is overwritten.

    Args:
        what: render.
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
    encoder: Annotated[tuple[str, ...], _optional("E ...")] = (),
    data: Annotated[str, _optional("FOLDER|LIST")] = "",
    test: Annotated[str, _optional("LIST")] = "",
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
    lr: Annotated[tuple[float, ...], _optional("LR ...")] = (),
    wd: Annotated[tuple[float, ...], _optional("WD ...")] = (),
    frames: Annotated[int, _optional("T")] = 0,
    size: Annotated[int, _optional("S")] = 0,
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    workers: Annotated[int, tyro.conf.arg(metavar="N")] = 2,
    cache: Annotated[str, _optional("DIR")] = "",
    out: Annotated[str, _optional("DIR")] = "",
) -> int:
    """Measure what frozen encoders have learnt, beside baselines.
    $ ivn probe classify --encoder RUN --data LIST --label NAME
    $ ivn probe classify --encoder RUN hf:FOLDER --data LIST --test LIST --heads attentive

    Videos are judged by heads that saw no video of their group, file or content. Raw pixels, and
    for a run its random-weight twin, stand beside. The last line printed is the result as JSON.

    Args:
        task: classify, the classes of labelled videos; motion, ten camera motions over frames of
            the data, or of bundled clips; retrieve, the nearest videos.
        encoder: runs, weights, presets, hub ids, timm:NAME, hf:FOLDER or raw; all share one split.
        data: a folder, a list or a manifest of videos.
        test: videos to judge by, instead of folds of the data.
        label: which label of the list.
        heads: some of linear, knn, attentive, attentive4.
        pool: features that linear, knn and retrieve read: mean, frames, attn or cls.
        tokens: what attentive heads read: all tokens, or their mean over each frame (frames).
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
    """
    if not encoder:
        raise UsageError("give --encoder E: a run, weights, a preset, a hub id or raw")
    if task != "motion" and not data:
        raise UsageError(f"ivn probe {task}: give --data FOLDER|LIST")
    from ivn.probing import Clips, Place, Training, run_classify, run_motion, run_retrieve

    place, seen = Place(device, workers, cache, out), Clips(frames, size)
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
    head: Annotated[str, _optional("HEAD")] = "",
    encoder: Annotated[str, _optional("E")] = "",
    top: Annotated[int, tyro.conf.arg(metavar="N")] = 5,
    json: Flag = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
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
    """
    if not videos or not head:
        raise UsageError("give VIDEO ... and --head HEAD")
    from ivn import probing

    return probing.run_predict(
        videos, head=head, encoder=encoder, top=top, as_json=json, device=device
    )


@app.command(name="ablate")
def run_ablate(
    table: tyro.conf.Positional[Literal["1a", "1b", "1c", "2", "3", "4"]],
    /,
    *,
    data: Annotated[str, tyro.conf.arg(metavar="FOLDER|LIST")],
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    probe: Annotated[str, _optional("LIST")] = "",
    scale: Annotated[
        Literal["tiny", "small", "base", "large", "huge"], tyro.conf.arg(metavar="SCALE")
    ] = "tiny",
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 3,
    labels: Annotated[str, _optional("NAME,...")] = "",
    settings: Settings = (),
) -> int:
    """Run the rows of one of the paper's ablation tables, probe each, and write it beside its own.
    $ ivn ablate 1a --data M --out DIR

    Every run has the same order of clips and, per seed, the same random numbers. A call that was
    stopped goes on where it was; tables that share --out share the runs that they have in common.

    Args:
        table: 1a parts of stage one, 1b predictors, 1c decoders, 2 teachers, 3 stage two, 4 masks
            and frames.
        data: clips to pretrain on.
        out: a folder for runs, probes and tables.
        probe: labelled clips to probe on; without it those of --data.
        scale: size of the models, one of tiny, small, base, large, huge.
        seeds: runs of each row.
        labels: those to probe; without it all that the clips have.
        settings: fields to change in every run, such as optim.steps=200.
    """
    from ivn.ablation.run import Options, ablate

    changes = tuple(assignment for group in settings for assignment in group)
    chosen = tuple(filter(None, labels.split(",")))
    return ablate(Options(table, data, Path(out), probe, scale, seeds, chosen, changes))


@app.command(name="bench")
def run_bench(
    name: tyro.conf.Positional[Literal["ops"]],
    /,
    *,
    device: Annotated[Literal["auto", "cpu", "cuda"], tyro.conf.arg(metavar="DEVICE")] = "auto",
    dtype: Annotated[Literal["bfloat16", "float32"], tyro.conf.arg(metavar="DTYPE")] = "bfloat16",
    only: Annotated[str, _optional("NOUN,...")] = "",
    threads: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    quick: Flag = False,
    out: Annotated[str, _optional("DIR")] = "",
    plot: Flag = False,
) -> int:
    """Measure the operations: ours, eager and compiled PyTorch, and the best library installed.

    Answers are compared first. A row tells milliseconds, GB/s of the bytes that any implementation
    must move, the share of a copy's speed, and how many times as long the others take. Compiling
    takes seconds a row. Leave the machine to it; on a CPU read the ratios.

    Args:
        name: ops, the operations one by one.
        device: cpu or cuda; auto takes the GPU where there is one.
        dtype: of the activations, bfloat16 or float32.
        only: some of patches, tokens, masking, random, norm, modulation, diffusion,
            distance.
        threads: of the CPU.
        quick: the first size of each operation, few rounds.
        out: a folder for the results, ops.json.
        plot: draw them there, too, as ops.png.
    """
    from ivn.benchmarks.ops import Options, bench

    nouns = tuple(filter(None, only.split(",")))
    bench(Options(device, dtype, nouns, quick, threads, out, plot))
    return 0


@app.command(name="doctor")
def run_doctor(*, json: Flag = False) -> int:
    """Say what is installed, compiled and usable, and what to do about the rest.

    Args:
        json: print it for programs.
    """
    from ivn.doctor import doctor

    return doctor(json=json)


def main() -> int:
    """Runs the command line; gives the exit code."""
    try:
        try:
            return _run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has read enough, as head does. Nothing may be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run() -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text; telling of it must not end a run.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"ivn {version('ivn')}")
        return 0
    try:
        return app.cli(
            prog="ivn",
            description="Pretrain video encoders from raw, unlabelled video. ivn --version",
            args=arguments,
        )
    except SystemExit as stop:
        if stop.code == 0 and arguments[:1] == ["pretrain"]:
            _print_settings()
        raise
    except UsageError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(_in_words(error), 1)
    except (ValueError, RuntimeError) as error:
        # Only what was written for users; anything else is a defect and keeps its traceback.
        from ivn.benchmarks.measure import BenchError
        from ivn.config import ConfigError
        from ivn.data.source import DataError
        from ivn.load import EncoderError
        from ivn.probe.errors import ProbeError
        from ivn.train.errors import RunError

        if isinstance(error, ConfigError):
            return _fail(error, 2)
        from ivn.ops._library import LibraryError

        if isinstance(error, BenchError):
            return _fail(error, error.code)
        if isinstance(error, (RunError, DataError, EncoderError, ProbeError, LibraryError)):
            return _fail(error, 1)
        raise


def _named(name: str) -> "Config":
    """The config of a preset, or of a file."""
    from ivn.config import read

    return read(name) if name.endswith(".toml") else _preset(name)


def _preset(name: str) -> "Config":
    from ivn.presets import PRESETS

    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.3)
        meant = f"did you mean {', '.join(close)}? " if close else ""
        raise UsageError(f"no preset {name!r}; {meant}ivn config lists all")
    return PRESETS[name]()


def _print_differences(one: str, other: str) -> None:
    from ivn.config import differences

    rows = differences(_named(one), _named(other))
    column = max((len(key) for key, _, _ in rows), default=0)
    for key, ours, theirs in rows:
        print(f"{key:<{column}}  {ours}  ->  {theirs}")
    if not rows:
        print("no difference")


def _print_settings() -> None:
    """What tyro's help leaves out: the fields that ``--set`` takes."""
    from ivn.config import help_text

    width = min(shutil.get_terminal_size().columns, 100)
    print("\nsettings, for --set KEY=VALUE; ivn config PRESET prints a preset's values\n")
    print(help_text(width))


def _in_words(error: OSError) -> str:
    """What Python says of a file, as we say things; our own errors as they are."""
    if error.strerror is None or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"


def _fail(error: object, code: int) -> int:
    print(f"ivn: {error}", file=sys.stderr)
    return code
