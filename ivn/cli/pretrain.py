"""``ivn pretrain``: starts a run, or resumes one."""

from pathlib import Path

from ivn import run
from ivn.config.presets import named_preset
from ivn.config.run import override, read
from ivn.errors import UsageError
from ivn.train.folder import CONFIG

from .options import Pretrain


def pretrain(options: Pretrain) -> int:
    """Starts or resumes the run; returns the exit code."""
    if options.resume:
        return run.resume(options.resume, data=options.data, changes=options.settings)
    if options.preset:
        _check_name(options.preset)
    base = read(options.config) if options.config else named_preset(options.preset)
    if not (options.data and options.out):
        raise UsageError("give --data FOLDER|LIST and --out RUN")
    config = override(base, *options.settings)
    return run.start(config, data=options.data, out=options.out, init=options.init)


def _check_name(preset: str) -> None:
    """Raises UsageError if what should be a preset is a run or a file."""
    if (Path(preset) / CONFIG).is_file():
        raise UsageError(f"no preset {preset!r}, but a run: --resume {preset} continues it")
    if Path(preset).is_file():
        raise UsageError(f"no preset {preset!r}, but a file: --config {preset} takes its settings")
