"""Writes a file or a folder under a temporary name beside it, ``.tmp-PID-NAME``, and renames it."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ivn.errors import DataError, WriteError

TEMPORARY = ".tmp-"


@contextlib.contextmanager
def new_file(
    path: Path, *, overwrite: bool = False, failures: tuple[type[Exception], ...] = ()
) -> Iterator[Path]:
    """Gives a temporary path to write to; at the end of the block that file is named ``path``.

    The file and its name are on disk when this returns. After an exception nothing is left.

        with durable.new_file(path) as temporary:
            image.save(temporary, format="PNG")

    Args:
        path: the file to come, in a folder that exists.
        overwrite: replace a file of that name.
        failures: exceptions of a library, beside OSError, which mean that writing failed.

    Raises:
        DataError: there is such a file already.
        WriteError: the file cannot be written.
    """
    temporary = _temporary(path)
    with appearing(temporary, path, overwrite=overwrite, failures=failures):
        yield temporary


def write_bytes(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Writes ``data`` to ``path``; see :func:`new_file`."""
    with new_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Writes ``text`` in UTF-8 to ``path``; see :func:`new_file`."""
    write_bytes(path, text.encode(), overwrite=overwrite)


@contextlib.contextmanager
def new_folder(path: Path, *, failures: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Gives a temporary folder to fill with files; at the end of the block it is named ``path``.

    Args:
        path: the folder to come; folders above it are made.
        failures: see :func:`new_file`.

    Raises:
        DataError: there is something at ``path`` already.
        WriteError: the folder cannot be written.
    """
    temporary = _temporary(path)
    with appearing(temporary, path, overwrite=False, failures=failures):
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            _sync(file)


def remove_folder(path: Path) -> None:
    """Removes a folder, so that a kill leaves it whole or without its name."""
    doomed = _temporary(path)
    path.rename(doomed)
    shutil.rmtree(doomed)


def remove_temporaries(*folders: Path) -> None:
    """Removes what writes that were cut off left in these folders.

    The caller holds a lock: nobody else writes there.
    """
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether the name is one that a write that was cut off leaves behind."""
    return path.name.startswith(TEMPORARY)


def check_absent(path: Path) -> None:
    """Raises DataError where there is a file at ``path``."""
    if path.exists():
        raise DataError(f"{path}: is there already, and is not overwritten")


def why(error: Exception, path: Path) -> str:
    """Returns the reason of a failed write in a few words, with the free space on its disk."""
    if isinstance(error, WriteError):
        return error.reason
    # Libraries hide the system's reason behind words of their own.
    reason = "a write failed"
    if isinstance(error, OSError):
        number = error.errno or 0
        reason = os.strerror(number) if number in errno.errorcode else error.strerror or reason
    free = shutil.disk_usage(existing(path)).free // 2**20
    return f"{reason[:1].lower()}{reason[1:]}; {free} MB free on its disk"


def existing(path: Path) -> Path:
    """Returns ``path``, or the folder nearest to it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")


@contextlib.contextmanager
def appearing(
    temporary: Path,
    path: Path,
    *,
    overwrite: bool = False,
    failures: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Renames ``temporary``, which the block writes, to ``path``; removes it after an exception."""
    try:
        with writing(path, temporary, failures=failures):
            if not overwrite:
                check_absent(path)
            yield
            _sync(temporary)
            if not overwrite:
                check_absent(path)
            os.replace(temporary, path)
            _sync(path.parent)
    finally:
        if os.path.isdir(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # a disk that became read-only keeps it
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(
    path: Path,
    written: Path | None = None,
    *,
    failures: tuple[type[Exception], ...] = (),
    unnamed: bool = True,
) -> Iterator[None]:
    """Turns the failures of writing ``path`` into WriteError, in one line.

    An OSError about a file elsewhere is of something that the block reads, and stays what it is.

    Args:
        path: the file or folder.
        written: path of the temporary file or folder.
        failures: see :func:`new_file`.
        unnamed: whether an OSError that names no file is of ``path``.
    """
    caught: tuple[type[Exception], ...] = (OSError, *failures)
    try:
        yield
    except caught as error:
        named = error.filename if isinstance(error, OSError) else None
        if named is None and isinstance(error, OSError) and not unnamed:
            raise
        if named is not None:
            place = Path(os.fsdecode(named))
            own = [one for one in (path, written) if one is not None]
            if not path.is_relative_to(place) and not any(map(place.is_relative_to, own)):
                raise
        # Before the file is removed, which frees what it took.
        raise WriteError(path, why(error, path)) from error


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
