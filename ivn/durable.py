"""A folder that a command fills, for as long as it takes: begun once, gone on with, never mixed up.

It holds the settings of what is made in it. Whoever gives the same command again finds what is
there already, and another command is refused.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ivn.errors import DataError

MANIFEST = "manifest.parquet"  # written last: where it is, all is there
TEMPORARY = ".part"
SETTINGS = "settings.json"


@contextlib.contextmanager
def filling(
    out: Path, settings: Mapping[str, object], file: str, *, below: Sequence[str] = ()
) -> Iterator[None]:
    """Hold the folder ``out`` for this process, with the settings in ``file``.

    Args:
        out: absolute; new, empty, or begun by an earlier call with the same settings.
        settings: what makes its contents what they are; JSON.
        file: name of the file that holds them.
        below: patterns of the folders below it in which writes that were cut off are removed.

    Raises:
        DataError: it holds something else or all of it already, or is in use.
    """
    remedy = "give those, or another folder"
    _check_unfinished(out)
    _check_settings(out, settings, file, remedy)
    try:
        out.mkdir(parents=True, exist_ok=True)
        in_use = f"{out} is in use by another process: wait for it, or choose another folder"
        with held(out, DataError(in_use)):
            _check_unfinished(out)
            _begin(out, settings, file, remedy)
            _clear(out, below)
            yield
            _clear(out, below)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{error.filename or out}: cannot be written ({reason[:1].lower()}{reason[1:]})"
        ) from error


def partial(file: Path) -> Path:
    """The folder of what is finished of a file; there only while the file is not whole."""
    return file.with_name(f"{file.name}.partial")


@contextlib.contextmanager
def held_partial(file: Path, settings: Mapping[str, object]) -> Iterator[Path]:
    """Hold the folder of what is finished of ``file`` for this process; gives it.

    Args:
        file: to come, in a folder that is there.
        settings: what makes its contents what they are; JSON.

    Raises:
        DataError: it was begun with other settings, is not ours, or is in use.
    """
    folder = partial(file)
    folder.mkdir(exist_ok=True)
    with held(folder, DataError(f"{folder}: another process works on it; wait for it")):
        _begin(folder, settings, SETTINGS, "remove it, or give another file")
        try:
            yield folder
        finally:
            # Nothing is finished: the next command may be another.
            if [file.name for file in folder.glob("*")] == [SETTINGS]:
                shutil.rmtree(folder, ignore_errors=True)


def _clear(out: Path, below: Sequence[str]) -> None:
    """Remove what writes that were cut off, by this process or an earlier one, have left."""
    for pattern in (f".{MANIFEST}.*", *(f"{folder}/*{TEMPORARY}" for folder in (".", *below))):
        for left in out.glob(pattern):
            left.unlink()


def temporary(path: Path) -> Path:
    """Where a file is written before it gets its name."""
    return path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")


def place(written: Path, path: Path) -> None:
    """Give a file that was written its name, and see that both outlive a power cut."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(written, path)


def _begin(folder: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
    """See that the folder is one of these settings, from now on or from before."""
    _check_settings(folder, settings, file, remedy)
    if not (folder / file).exists():
        temporary = folder / f"{file}{TEMPORARY}"
        temporary.write_text(_text(settings))
        os.replace(temporary, folder / file)


def _check_unfinished(out: Path) -> None:
    if (out / MANIFEST).exists():
        raise DataError(f"{out / MANIFEST}: is there already, and is not overwritten")


def _check_settings(out: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
    """Raise DataError, with what to do, for what other settings have begun, or others have."""
    if (out / file).exists():
        begun, text = (out / file).read_text(errors="replace"), _text(settings)
        if begun != text:
            told = _difference(begun, text)
            raise DataError(f"{out}: was begun with other settings ({told}): {remedy}")
    elif out.exists() and (not out.is_dir() or any(not _left(name) for name in out.iterdir())):
        raise DataError(f"{out}: expected a new folder, or one that the same command began")


def _text(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, indent=1) + "\n"


def _left(path: Path) -> bool:
    """Whether this is what a write of settings that was cut off has left."""
    return path.name.endswith(TEMPORARY)


def _difference(begun: str, settings: str) -> str:
    """The first line of the settings as begun that is not one of now."""
    now = settings.splitlines()
    return next((line.strip(" ,") for line in begun.splitlines() if line not in now), "fewer")


@contextlib.contextmanager
def held(folder: Path, in_use: Exception) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however that ends.

    The folder itself is locked, so that no file is left behind. Processes started afresh do not
    inherit the lock; forked ones would, and keep it when this one is killed.

    Args:
        folder: that is there.
        in_use: raised where another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use from None
        yield
    finally:
        os.close(descriptor)


def why(error: Exception, path: Path) -> str:
    """A failed write's reason in a few words, with what room there is on the disk of ``path``."""
    # Libraries hide the system's reason behind words of their own.
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "a write failed"
    free = shutil.disk_usage(existing(path)).free // 2**20
    return f"{reason}; {free} MB free on its disk"


def existing(path: Path) -> Path:
    """``path``, or the folder nearest to it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
