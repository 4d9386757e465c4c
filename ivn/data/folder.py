"""A folder that a command fills, for as long as it takes: begun once, gone on with, never mixed up.

It holds the settings of what is made in it. Whoever gives the same command again finds what is
there already, and another command is refused.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ivn.data.source import DataError

MANIFEST = "manifest.parquet"  # written last: where it is, all is there
TEMPORARY = ".part"


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
    text = json.dumps(settings, indent=1) + "\n"
    _check(out, text, file)
    try:
        out.mkdir(parents=True, exist_ok=True)
        in_use = f"{out} is in use by another process: wait for it, or choose another folder"
        with held(out, DataError(in_use)):
            _check(out, text, file)
            if not (out / file).exists():
                temporary = out / f"{file}{TEMPORARY}"
                temporary.write_text(text)
                os.replace(temporary, out / file)
            _clear(out, below)
            yield
            _clear(out, below)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{error.filename or out}: cannot be written ({reason[:1].lower()}{reason[1:]})"
        ) from error


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


def _check(out: Path, settings: str, file: str) -> None:
    if (out / MANIFEST).exists():
        raise DataError(f"{out / MANIFEST}: is there already, and is not overwritten")
    if (out / file).exists():
        begun = (out / file).read_text(errors="replace")
        if begun != settings:
            raise DataError(
                f"{out}: was begun with other settings ({_difference(begun, settings)}): give "
                "those, or another folder"
            )
    elif out.exists() and (not out.is_dir() or any(not _left(name) for name in out.iterdir())):
        raise DataError(f"{out}: expected a new folder, or one that the same command began")


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
