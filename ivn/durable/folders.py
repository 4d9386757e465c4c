"""Folders that are filled by one process at a time, and continued with the same settings alone."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ivn.errors import DataError

from .files import check_absent, is_temporary, remove_temporaries, write_text, writing

MANIFEST = "manifest.parquet"  # written last: a folder that has it is complete


@contextlib.contextmanager
def filling(
    out: Path, settings: Mapping[str, object], file: str, *, below: Sequence[str] = ()
) -> Iterator[None]:
    """Holds the folder ``out`` for this process, with the settings in ``file``.

    Args:
        out: absolute path of a folder that is new, empty, or begun with the same settings.
        settings: all that its contents depend on; JSON.
        file: name of the file that holds them.
        below: patterns of the folders below it, from which temporary files are removed.

    Raises:
        DataError: the folder holds something else or is complete already, or is in use.
        WriteError: the folder cannot be written.
    """
    remedy = "give those, or another folder"
    in_use = f"{out} is in use by another process: wait for it, or choose another folder"
    with writing(out, unnamed=False):
        check_absent(out / MANIFEST)
        check_settings(out, settings, file, remedy)
        out.mkdir(parents=True, exist_ok=True)
        with held(out, DataError(in_use)):
            check_absent(out / MANIFEST)
            begin(out, settings, file, remedy)
            _clear(out, below)
            yield
            _clear(out, below)


@contextlib.contextmanager
def held(folder: Path, in_use: Exception) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock ends with the process, however that ends.

    The folder itself is locked, so that no file is left behind. Processes started afresh do not
    inherit the lock; forked ones would, and keep it when this one is killed.

    Args:
        folder: an existing folder.
        in_use: exception to raise where another process holds it.
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


def begin(folder: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
    """Records the settings in a folder, or checks that they are those recorded in it."""
    check_settings(folder, settings, file, remedy)
    if not (folder / file).exists():
        write_text(folder / file, _text(settings))


def check_settings(out: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
    """Raises DataError, with a remedy, where ``out`` has other settings, or is not ours."""
    if (out / file).exists():
        begun, text = (out / file).read_text(errors="replace"), _text(settings)
        if begun != text:
            found = _difference(begun, text)
            raise DataError(f"{out}: was begun with other settings ({found}): {remedy}")
    elif out.exists() and (not out.is_dir() or not all(map(is_temporary, out.iterdir()))):
        raise DataError(f"{out}: expected a new folder, or one that the same command began")


def _text(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, indent=1) + "\n"


def _difference(begun: str, settings: str) -> str:
    """Returns the first line of the recorded settings that differs from those given."""
    before, now = ([line.strip(" ,") for line in text.splitlines()] for text in (begun, settings))
    changed = [line for line in before if line not in now]
    added = [f"without {line}" for line in now if line not in before]
    return next(iter(changed + added), "in another order")


def _clear(out: Path, below: Sequence[str]) -> None:
    remove_temporaries(out, *(folder for pattern in below for folder in out.glob(pattern)))
