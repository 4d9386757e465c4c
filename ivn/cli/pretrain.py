"""``ivn pretrain``: starts a run, or resumes one."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ivn.errors import UsageError
from ivn.options import Positional, Settings, Unset

if TYPE_CHECKING:
    from ivn.config.run import Config


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
        if not self.resume and not (self.data and self.out):
            if self.preset:
                _named(self.preset)
            raise UsageError("give --data FOLDER|LIST and --out RUN")


def pretrain(options: Pretrain) -> int:
    """Starts or resumes the run; returns the exit code."""
    from ivn import run

    if options.resume:
        return run.resume(options.resume, data=options.data, changes=options.settings)
    from ivn.config.run import override, read

    base = read(options.config) if options.config else _named(options.preset)
    config = override(base, *options.settings)
    return run.start(config, data=options.data, out=options.out, init=options.init)


def _named(name: str) -> "Config":
    """Returns the config of a preset.

    Raises:
        UsageError: there is none of that name.
    """
    from ivn.config.presets import named_preset
    from ivn.train.folder import CONFIG

    if (Path(name) / CONFIG).is_file():
        raise UsageError(f"no preset {name!r}, but a run: --resume {name} continues it")
    if Path(name).is_file():
        raise UsageError(f"no preset {name!r}, but a file: --config {name} takes its settings")
    return named_preset(name)


def print_settings() -> None:
    """Prints the settings that ``--set`` takes, below the help of the command."""
    from ivn.config.run import help_text

    width = min(shutil.get_terminal_size().columns, 100)
    print("\nsettings, for --set KEY=VALUE; ivn config PRESET prints a preset's values\n")
    print(help_text(width))
