"""Commands that train: one run, the demo, and the rows of an ablation; and their configs."""

import difflib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ivn.errors import UsageError

from .app import Flag, Settings, app, optional

if TYPE_CHECKING:
    from ivn.config.run import Config

Preset = tyro.conf.Positional[Annotated[str, optional("[PRESET]")]]
Names = tyro.conf.Positional[Annotated[tuple[str, ...], optional("[PRESET | diff A B]")]]


@app.command(name="pretrain")
def pretrain(
    preset: Preset = "",
    /,
    *,
    config: Annotated[str, optional("FILE.toml")] = "",
    data: Annotated[str, optional("FOLDER|LIST")] = "",
    out: Annotated[str, optional("RUN")] = "",
    init: Annotated[str, optional("RUN")] = "",
    resume: Annotated[str, optional("RUN")] = "",
    settings: Settings = (),
) -> int:
    """Pretrain a video encoder.
    $ ivn pretrain PRESET --data FOLDER --out RUN
    $ ivn pretrain --resume RUN

    Args:
        preset: a named config; ivn config lists them.
        config: a config saved before, instead of a preset.
        data: a folder of videos, or a list of them (csv or txt: path, or path and label, a line;
            or a manifest, .parquet). With --resume, where the run's clips are by now, if they have
            moved; names, order, labels and times must be the same.
        out: a new folder for the run.
        init: a run whose encoder and predictor to start from, as stage 2 does from stage 1; or
            other weights, as a file, a folder or a hub id.
        resume: a run to take up where its newest checkpoint left it.
        settings: fields to change, such as optim.lr=1e-3; they are listed below.
    """
    changes = [assignment for group in settings for assignment in group]
    if sum(map(bool, (preset, config, resume))) != 1:
        raise UsageError("give one of PRESET, --config FILE.toml or --resume RUN")
    if resume:
        if out or init:
            raise UsageError("--resume takes folder and first weights from the run itself")
        from ivn import run

        return run.resume(resume, data=data, changes=changes)
    if not data or not out:
        raise UsageError("give --data FOLDER|LIST and --out RUN")
    from ivn import run
    from ivn.config.run import override, read

    base = read(config) if config else named_preset(preset)
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
            from ivn.config.presets import PRESETS

            print("\n".join(PRESETS))
        case ("diff", one, other):
            if changes:
                raise UsageError("--set changes a config that is printed, not one of a diff")
            _print_differences(one, other)
        case (name,) if name != "diff":
            from ivn.config.run import override, to_toml

            print(to_toml(override(_named(name), *changes)), end="")
        case _:
            raise UsageError(
                f"ivn config {' '.join(names) or '--set'}: expected PRESET, or diff A B, or nothing"
            )
    return 0


@app.command(name="demo")
def run_demo(
    *, out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "ivn-demo", short: Flag = False
) -> int:
    """Run both stages in miniature on the bundled clips, and measure what they learnt.

    Minutes on two cores. The measurement: how well a linear probe on frozen features tells ten
    camera motions apart, over real frames and drawn scenes, no scene in training and test alike.
    The trained encoder stands beside its random-weight twin and the image teacher, with chance,
    number of clips and 95% intervals. The last line printed is all of it as JSON.

    Args:
        out: a new folder for both runs and the picture.
        short: do all of it with so few steps and clips that it takes about a minute. This shows
            that everything runs; nothing can be learnt in it.
    """
    from ivn.demo import FULL, SHORT, demo

    return demo(Path(out), SHORT if short else FULL)


@app.command(name="ablate")
def run_ablate(
    table: tyro.conf.Positional[Literal["1a", "1b", "1c", "2", "3", "4-masks", "4-frames"]],
    /,
    *,
    data: Annotated[str, tyro.conf.arg(metavar="FOLDER|LIST")],
    out: Annotated[str, tyro.conf.arg(metavar="DIR")],
    probe: Annotated[str, optional("LIST")] = "",
    scale: Annotated[
        Literal["tiny", "small", "base", "large", "huge"], tyro.conf.arg(metavar="SCALE")
    ] = "tiny",
    seeds: Annotated[int, tyro.conf.arg(metavar="N")] = 3,
    labels: Annotated[str, optional("NAME,...")] = "",
    internvideo2: Annotated[str, optional("FILE")] = "",
    settings: Settings = (),
) -> int:
    """Run the rows of one of the paper's ablation tables, probe each, and write it beside its own.
    $ ivn ablate 1a --data M --out DIR

    Every run has the same order of clips and, per seed, the same random numbers. A call that was
    stopped goes on where it was; tables that share --out share the runs that they have in common.

    Args:
        table: 1a parts of stage one, 1b predictors, 1c decoders, 2 teachers, 3 stage two, 4-masks
            and 4-frames.
        data: clips to pretrain on.
        out: a folder for runs, probes and tables.
        probe: labelled clips to probe on; without it those of --data.
        scale: size of the models, one of tiny, small, base, large, huge.
        seeds: runs of each row.
        labels: those to probe; without it all that folds can judge.
        internvideo2: file of InternVideo2's 1B weights, for a row of table 3.
        settings: fields to change in every run, such as optim.steps=200.
    """
    from ivn.ablation.run import Options, ablate

    changes = tuple(assignment for group in settings for assignment in group)
    chosen = tuple(filter(None, labels.split(",")))
    options = Options(table, data, Path(out), probe, scale, seeds, chosen, changes, internvideo2)
    return ablate(options)


def print_settings() -> None:
    """What tyro's help leaves out: the fields that ``--set`` takes."""
    from ivn.config.run import help_text

    width = min(shutil.get_terminal_size().columns, 100)
    print("\nsettings, for --set KEY=VALUE; ivn config PRESET prints a preset's values\n")
    print(help_text(width))


def _named(name: str) -> "Config":
    """The config of a preset, or of a file."""
    from ivn.config.run import read

    return read(name) if name.endswith(".toml") else named_preset(name)


def named_preset(name: str) -> "Config":
    from ivn.config.presets import PRESETS

    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.3)
        meant = f"did you mean {', '.join(close)}? " if close else ""
        raise UsageError(f"no preset {name!r}; {meant}ivn config lists all")
    return PRESETS[name]()


def _print_differences(one: str, other: str) -> None:
    from ivn.config.run import differences

    rows = differences(_named(one), _named(other))
    column = max((len(key) for key, _, _ in rows), default=0)
    for key, ours, theirs in rows:
        print(f"{key:<{column}}  {ours}  ->  {theirs}")
    if not rows:
        print("no difference")
