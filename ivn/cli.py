"""The ``ivn`` command.

Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly, 130 and 143 it was stopped.
Heavy imports wait until a command needs them, so that ``ivn --help`` is quick.
"""

import difflib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from ivn.config import Config

app = tyro.extras.SubcommandApp()

Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
    tyro.conf.arg(name="set", metavar="KEY=VALUE ..."),
]
Preset = tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PRESET")]]


class UsageError(Exception):
    """The command line contradicts itself or names what does not exist."""


@app.command(name="pretrain")
def pretrain(
    preset: Preset = "",
    /,
    *,
    config: Annotated[str, tyro.conf.arg(metavar="FILE.toml")] = "",
    data: Annotated[str, tyro.conf.arg(metavar="FOLDER|LIST")] = "",
    out: Annotated[str, tyro.conf.arg(metavar="RUN")] = "",
    init: Annotated[str, tyro.conf.arg(metavar="RUN")] = "",
    resume: Annotated[str, tyro.conf.arg(metavar="RUN")] = "",
    settings: Settings = (),
) -> int:
    """Pretrain a video encoder.

    ivn pretrain PRESET --data FOLDER --out RUN
    ivn pretrain --resume RUN

    Args:
        preset: a named config; ivn config lists them.
        config: a config saved before, instead of a preset.
        data: a folder of videos, or a list of them (csv or txt: path, or path and label, a line).
        out: a new folder for the run.
        init: a run whose encoder and predictor to start from, as stage 2 does from stage 1.
        resume: a run to take up where its newest checkpoint left it.
        settings: fields to change, such as optim.lr=1e-3; ivn config PRESET shows all.
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

    return run.start(_config(preset, config, changes), data=data, out=out, init=init)


@app.command(name="config")
def show_config(
    preset: Preset = "",
    /,
    *,
    settings: Settings = (),
) -> int:
    """Print a preset's whole config as TOML, or the presets' names.

    Args:
        preset: a named config; without it their names are printed.
        settings: fields to change, such as optim.lr=1e-3.
    """
    if not preset:
        from ivn.presets import PRESETS

        print("\n".join(PRESETS))
        return 0
    from ivn.config import to_toml

    changes = [assignment for group in settings for assignment in group]
    print(to_toml(_config(preset, "", changes)), end="")
    return 0


@app.command(name="demo")
def run_demo(*, out: Annotated[str, tyro.conf.arg(metavar="DIR")] = "ivn-demo") -> int:
    """Run both stages in miniature on the bundled clips.

    Args:
        out: a new folder for both runs and the picture.
    """
    from ivn.demo import demo

    return demo(Path(out))


@app.command(name="doctor")
def run_doctor(*, json: bool = False) -> int:
    """Say what is installed, compiled and usable, and what to do about the rest.

    Args:
        json: for programs.
    """
    from ivn.doctor import doctor

    return doctor(json=json)


def main() -> int:
    """Runs the command line; gives the exit code."""
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
    except UsageError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(error, 1)
    except (ValueError, RuntimeError) as error:
        # Only what was written for users; anything else is a defect and keeps its traceback.
        from ivn.config import ConfigError
        from ivn.data.source import DataError
        from ivn.train.errors import RunError

        if isinstance(error, ConfigError):
            return _fail(error, 2)
        if isinstance(error, (RunError, DataError)):
            return _fail(error, 1)
        raise


def _config(preset: str, file: str, changes: list[str]) -> "Config":
    """The config of a preset or a file, with some fields changed."""
    from ivn.config import from_toml, override
    from ivn.presets import PRESETS

    if file:
        return override(from_toml(Path(file).read_text(encoding="utf-8")), *changes)
    if preset not in PRESETS:
        close = difflib.get_close_matches(preset, PRESETS, n=3, cutoff=0.3)
        raise UsageError(
            f"no preset {preset!r}; "
            + (f"did you mean {', '.join(close)}?" if close else "")
            + " ivn config lists all"
        )
    return override(PRESETS[preset](), *changes)


def _fail(error: Exception, code: int) -> int:
    print(f"ivn: {error}", file=sys.stderr)
    return code
