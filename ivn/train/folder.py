"""A run's folder: started once, used by one process at a time, never overwritten.

RUN/config.toml        the resolved config; written last, so a folder that has it is complete
RUN/run.json           where the clips and the first weights are
RUN/clips.jsonl.gz     what the clips are, a line each; see ivn.data.manifest.identity
RUN/log.jsonl          one line a step
RUN/tensorboard/       the same for TensorBoard, if asked for
RUN/checkpoints/step-00000123/
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from ivn import durable
from ivn.durable import existing, held, is_temporary, why
from ivn.errors import FolderInUseError, RunError, WriteError
from ivn.model.checkpoints import CHECKPOINTS

CONFIG = "config.toml"
SOURCE = "run.json"
CLIPS = "clips.jsonl.gz"
LOG = "log.jsonl"
BOARD = "tensorboard"
_ENTRIES = {"data": str, "init": str, "clips": int, "fingerprint": str}  # of SOURCE, always there


def is_run(path: Path) -> bool:
    """Returns whether ``path`` is the folder of a run."""
    return (path / CONFIG).is_file()


def check_run(path: Path) -> None:
    """Checks that ``path`` is the folder of a run.

    Raises:
        FileNotFoundError: it is none.
    """
    if not is_run(path):
        raise FileNotFoundError(f"{path} holds no run: expected {CONFIG} in it")


def check_free(run: Path) -> None:
    """Checks that a run can be started in ``run``: absent, empty, or a run that took no step.

    Raises:
        FileExistsError: it is something else.
        RunError: it could not be written.
    """
    if not existing(run).is_dir():
        raise FileExistsError(f"{existing(run)} is a file, expected a new folder for the run")
    there = list(run.iterdir()) if run.exists() else []
    if (run / CONFIG).exists() and took_a_step(run):
        raise FileExistsError(f"{run} holds a run already; go on with: ivn pretrain --resume {run}")
    ours = {SOURCE, CLIPS}
    if (run / CONFIG).exists():
        ours |= {CONFIG, LOG, BOARD, CHECKPOINTS}
    if any(path.name not in ours and not is_temporary(path) for path in there):
        raise FileExistsError(f"{run} is not empty and holds no run; choose a new folder")
    if not os.access(existing(run), os.W_OK | os.X_OK):
        raise RunError(
            f"{run} cannot be written: {existing(run)} is read-only for you; choose another folder"
        )


def create(run: Path, *, config: str, source: dict[str, Any], clips: bytes) -> None:
    """Starts ``run``: makes the folder, writes clips and source, then its config (TOML text).

    Raises:
        FileExistsError, FolderInUseError: see :func:`check_free` and :func:`locked`.
        RunError: it could not be written.
    """
    check_free(run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        with locked(run):
            check_free(run)
            discard_unused(run)
            remove_temporaries(run)
            write_source(run, source, clips)
            durable.write_text(run / CONFIG, config)
    except FileExistsError:
        raise
    except (OSError, WriteError) as error:
        raise RunError(f"{run} could not be written ({why(error, run)})") from error


def write_source(run: Path, source: dict[str, Any], clips: bytes) -> None:
    """Records the places of clips and first weights, and the names of the clips.

    Raises:
        RunError: it could not be written.
    """
    try:
        durable.write_bytes(run / CLIPS, clips, overwrite=True)
        durable.write_text(run / SOURCE, json.dumps(source, indent=2) + "\n", overwrite=True)
    except (OSError, WriteError) as error:
        raise RunError(f"{run} could not be written ({why(error, run)})") from error


def took_a_step(run: Path) -> bool:
    """Returns whether a step of ``run`` was logged or saved."""
    log = run / LOG
    saved = not all(map(is_temporary, (run / CHECKPOINTS).glob("*")))
    return saved or (log.exists() and log.stat().st_size > 0)


def discard_unused(run: Path) -> None:
    """Undoes :func:`create` where no step was taken; the caller holds the lock."""
    if took_a_step(run):
        return
    for name in (CONFIG, LOG, SOURCE, CLIPS):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / BOARD, ignore_errors=True)


def read(run: Path) -> tuple[str, dict[str, Any]]:
    """Returns the config's text and the source of a started run.

    Raises:
        FileNotFoundError: there is none in ``run``.
        RunError: its files were changed: they are no text or no JSON, or an entry is missing.
    """
    check_run(run)
    try:
        source = json.loads((run / SOURCE).read_text("utf-8"))
        for name, kind in _ENTRIES.items():
            if not isinstance(source, dict) or not isinstance(source.get(name), kind):
                raise ValueError(f"{SOURCE} has no {name}")
        return (run / CONFIG).read_text("utf-8"), source
    except ValueError as error:
        raise RunError(
            f"{run}: {CONFIG} or {SOURCE} is not as it was written ({error}); restore it"
        ) from error


def locked(run: Path) -> contextlib.AbstractContextManager[None]:
    """Holds ``run`` for this process; see :func:`ivn.durable.held`.

    Raises:
        FolderInUseError: another process holds it.
    """
    told = f"{run} is in use by another process; wait for it or choose another folder"
    return held(run, FolderInUseError(told))


def remove_temporaries(run: Path) -> None:
    """Removes what writes that were cut off left; the caller holds the lock."""
    durable.remove_temporaries(run, run / CHECKPOINTS)
