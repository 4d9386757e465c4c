"""Why a run stops before its last step."""

import shutil
from pathlib import Path


class RunError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


class FolderInUseError(RunError):
    """Another process works in the run folder."""


class CheckpointError(RunError):
    """A checkpoint could not be written or read."""


class LogError(RunError):
    """The log could not be written; the checkpoints are as they were."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} could not be written ({why(error, path)}); the checkpoints are as they "
            "were: once it can be, go on with ivn pretrain --resume"
        )


class NotFiniteError(RunError):
    """Too many steps in a row had a loss or gradient that is not finite."""


class ReplacedError(RunError):
    """Too many files had to be replaced."""


def why(error: Exception, path: Path) -> str:
    """A failed write's reason in a few words, with what room there is on the disk of ``path``."""
    # Libraries hide the system's reason behind words of their own.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "a write failed"
    free = shutil.disk_usage(existing(path)).free // 2**20
    return f"{reason}; {free} MB free on its disk"


def existing(path: Path) -> Path:
    """``path``, or the folder nearest to it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
