"""Options of the commands whose rooms are one module: pretrain, config, demo and doctor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ivn.errors import UsageError
from ivn.options import Option, Positional, Settings, Unset


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pretrain a video encoder.
    $ ivn pretrain PRESET --data FOLDER --out RUN
    $ ivn pretrain --config FILE.toml --data LIST --out RUN --set optim.lr=3e-4 data.seed=1
    $ ivn pretrain --resume RUN

    A run stops at the end of a step when Ctrl-C or SIGTERM asks for it, and saves a checkpoint; a
    second one stops it at once and leaves the checkpoint that was saved last. An unusable file is
    replaced by another, chosen by the seed of the run; it is counted, written to the log and named
    at the end. If more than run.max_replaced_share of the clips had to be replaced (judged after
    100 clips or one epoch, whichever comes first), the run saves and stops with exit code 1 and
    the list. If ten replacements in a row are unusable as well, it stops at once.

    --set takes any number of settings, and may be typed more than once. A value is read as TOML;
    words need no quotes. Tables in a list are numbered from 0. model.decoder.kind=pixel puts all
    defaults of that kind in place of the old table; type it before settings of the new kind.
    Settings are judged together, when all are in place. Settings of data, model, stage and optim
    can change a result; those of run and efficiency cannot, beyond rounding. With --resume only
    run and efficiency may change, for that time.

    Attributes:
        preset: name of a config; ivn config lists them.
        config: saved config, such as a run's config.toml, instead of a preset.
        data: a folder of videos with everything below it, a video, a list (csv, tsv, txt, list or
            lst: a path, or a path and a label, in each line) or a manifest (parquet); see
            docs/data.md. With --resume, the present place of the run's clips, if they have moved;
            names, order, labels and times must be the same: see
            docs/guides/pretraining.md#stopping-and-resuming.
        out: folder for the run: new, empty, or one in which no step was taken.
        init: a run, a checkpoint folder or a released checkpoint whose encoder and predictor the
            run starts from; stage two needs one. Weights of an encoder alone, as a file, a folder
            or a hub id, are enough in stage one, where the predictor then starts anew, and in
            stage two with --set stage.start=encoder.
        resume: run to continue from its newest checkpoint; data, folder and config are its own.
        settings: settings to change, such as optim.lr=1e-3; ivn pretrain --help lists them all.
    """

    preset: Annotated[str, Positional("[PRESET]")] = ""
    config: Annotated[str, Unset("FILE.toml")] = ""
    data: Annotated[str, Unset("FOLDER|LIST")] = ""
    out: Annotated[str, Unset("RUN")] = ""
    init: Annotated[str, Unset("RUN")] = ""
    resume: Annotated[str, Unset("RUN")] = ""
    settings: Settings = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.preset, self.config, self.resume))) != 1:
            raise UsageError("give one of PRESET, --config FILE.toml or --resume RUN")
        if self.resume and (self.out or self.init):
            raise UsageError("--resume takes folder and first weights from the run itself")


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """Print a whole config as TOML, or how two differ, or the names of the presets.
    $ ivn config
    $ ivn config PRESET
    $ ivn config diff A B
    $ ivn config stage1-tiny --set optim.lr=3e-4 stage.mask=tube optim.betas='[0.9, 0.95]'
    $ ivn config stage1-tiny --set data.augmentation=random_resized data.crop_area='[0.2, 1.0]'
    $ ivn config stage1-tiny --set model.decoder.kind=pixel model.decoder.depth=3
    $ ivn config stage2-tiny --set stage.views.0.truncate=none --set efficiency.accumulation=4

    A saved config is printed with defaults filled in. diff prints a setting in each line, as key,
    value in A and value in B in TOML; a setting that one of the two lacks, because it belongs to
    another kind, is absent there. Without any difference it prints "no difference". The names of
    the configs are not compared. The exit code is 0 either way.

    Attributes:
        names: a preset, a run or a saved FILE.toml; two of them behind diff; nothing for the names
            of the presets.
        settings: settings to change in the config that is printed, as in ivn pretrain.
    """

    names: Annotated[tuple[str, ...], Positional("[PRESET | diff A B]")] = ()
    settings: Settings = ()


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run both stages in miniature on the bundled clips, and measure what they have learnt.
    $ ivn demo --short

    It takes minutes on two cores and needs pip install "ivn[demo]". It draws masks, reconstructions
    and features (DIR/demo.png), shows all results on one page (DIR/report.html), and measures how
    well a linear head on frozen features tells ten camera motions apart, over real frames and drawn
    scenes, with no scene in training and test alike. The trained encoder stands beside its
    random-weight twin and the image teacher, with chance, number of clips and 95% intervals. The
    last line printed is all of the measurement as JSON. See
    docs/method.md#camera-motion.

    Attributes:
        out: folder for both runs, the picture and the page; it must be new.
        short: whether to take so few steps and clips that all of it lasts about a minute. This
            shows that everything works; nothing can be learnt in it.
    """

    out: Annotated[Path, Option("DIR")] = Path("ivn-demo")
    short: bool = False


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """List what is installed, compiled and usable, why the rest is not, and what to do about it.

    The exit code is 0 when the core works, 1 otherwise.

    Attributes:
        json: whether to print the list as JSON, for programs.
    """

    json: bool = False
