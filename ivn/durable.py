"""Files and folders that survive a kill and a power cut: whole, or not there.

:func:`new_file` and :func:`new_folder` write under a temporary name, ``.tmp-PID-NAME`` beside the
file to come, and rename at the end. Work that takes long keeps what is finished: :func:`parts_of`
for one large file, in a folder FILE.partial; :func:`filling` for a folder of many files. Both hold
a lock that ends with the process, and record their settings, so that the same command continues
and another one is refused.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ivn.errors import DataError, WriteError

MANIFEST = "manifest.parquet"  # written last: a folder that has it is complete
TEMPORARY = ".tmp-"
SETTINGS = "settings.json"
# Raised when the files of a folder FILE.partial change their meaning.
_FORMAT = 2


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
    with _appearing(temporary, path, overwrite=overwrite, failures=failures):
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
    with _appearing(temporary, path, overwrite=False, failures=failures):
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


class Parts:
    """The finished parts of a file to come, in the order in which they were added.

    They lie in a folder FILE.partial, which this process holds; each is whole and has a digest of
    its input in its name. Use :func:`parts_of`.

    Attributes:
        file: the file to come.
        folder: the folder of its parts.
        paths: the parts.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder = file, folder
        self.paths = sorted(folder.glob("part-*"))

    def keep(self, index: int, digest: str) -> bool:
        """Returns whether a part was made of input with this digest.

        If it was not, that part and all behind it are removed, to be made again.
        """
        path = self.paths[index]
        if path.name == _part_name(index, digest, path.suffix):
            return True
        for other in self.paths[index:]:
            other.unlink()
        del self.paths[index:]
        return False

    @contextlib.contextmanager
    def add(self, digest: str, suffix: str) -> Iterator[Path]:
        """Gives a path to write the next part to; it counts at the end of the block.

        Args:
            digest: hexadecimal digest of its input; see :func:`digest`.
            suffix: end of its name, such as ``.npz``.

        Raises:
            WriteError: the part cannot be written.
        """
        path = self.folder / _part_name(len(self.paths), digest, suffix)
        with new_file(path) as temporary:
            yield temporary
        self.paths.append(path)

    @contextlib.contextmanager
    def completed(self) -> Iterator[Path]:
        """Gives a path to write the whole file to; it appears, and the parts go, at the end.

        Raises:
            DataError: a file of its name has appeared meanwhile.
            WriteError: the file cannot be written.
        """
        whole = self.folder / f"{TEMPORARY}whole{self.file.suffix}"
        with _appearing(whole, self.file):
            yield whole
        self.discard()

    def discard(self) -> None:
        """Removes the parts and their folder."""
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def parts_of(file: Path, settings: Mapping[str, object]) -> Iterator[Parts]:
    """Holds the folder of the parts of ``file`` for this process.

    Args:
        file: the file to come, in a folder that exists.
        settings: all that the parts depend on, beside their input; JSON.

    Raises:
        DataError: the file is there already, or its parts were begun with other settings, are not
            ours, or belong to a process that runs.
        WriteError: the folder cannot be written.
    """
    folder = partial(file)
    check_absent(file)
    with _writing(folder):
        folder.mkdir(exist_ok=True)
    with held(folder, DataError(f"{folder}: another process works on it; wait for it")):
        settings = {"parts": _FORMAT, **settings}
        with _writing(folder):
            _begin(folder, settings, SETTINGS, "remove it, or give another file")
            remove_temporaries(folder)
        parts = Parts(file, folder)
        try:
            yield parts
        finally:
            if (
                not parts.paths and folder.exists()
            ):  # nothing to continue: the next command may differ
                shutil.rmtree(folder, ignore_errors=True)


def partial(file: Path) -> Path:
    """Returns the folder of the parts of a file; it exists only while the file is not whole."""
    return file.with_name(f"{file.name}.partial")


def digest(values: Iterable[object]) -> str:
    """Returns a digest of plain values in their order, 32 hexadecimal digits."""
    found = hashlib.sha256()
    for value in values:
        found.update(repr(value).encode("utf-8", "backslashreplace"))
    return found.hexdigest()[:32]


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
    with _writing(out, unnamed=False):
        check_absent(out / MANIFEST)
        _check_settings(out, settings, file, remedy)
        out.mkdir(parents=True, exist_ok=True)
        with held(out, DataError(in_use)):
            check_absent(out / MANIFEST)
            _begin(out, settings, file, remedy)
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
def _appearing(
    temporary: Path,
    path: Path,
    *,
    overwrite: bool = False,
    failures: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Renames ``temporary``, which the block writes, to ``path``; removes it after an exception."""
    try:
        with _writing(path, temporary, failures=failures):
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
def _writing(
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


def _part_name(number: int, digest: str, suffix: str) -> str:
    return f"part-{number:08}-{digest}{suffix}"


def _clear(out: Path, below: Sequence[str]) -> None:
    remove_temporaries(out, *(folder for pattern in below for folder in out.glob(pattern)))


def _begin(folder: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
    """Records the settings in a folder, or checks that they are those recorded in it."""
    _check_settings(folder, settings, file, remedy)
    if not (folder / file).exists():
        write_text(folder / file, _text(settings))


def _check_settings(out: Path, settings: Mapping[str, object], file: str, remedy: str) -> None:
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
