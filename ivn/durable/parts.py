"""The finished parts of one large file to come, in a folder FILE.partial."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ivn.errors import DataError

from .files import TEMPORARY, appearing, check_absent, new_file, remove_temporaries, writing
from .folders import begin, held

SETTINGS = "settings.json"
# Raised when the files of a folder FILE.partial change their meaning.
_FORMAT = 2


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
        with appearing(whole, self.file):
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
    with writing(folder):
        folder.mkdir(exist_ok=True)
    with held(folder, DataError(f"{folder}: another process works on it; wait for it")):
        settings = {"parts": _FORMAT, **settings}
        with writing(folder):
            begin(folder, settings, SETTINGS, "remove it, or give another file")
            remove_temporaries(folder)
        parts = Parts(file, folder)
        try:
            yield parts
        finally:
            if not parts.paths:  # nothing to continue: the next command may differ
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


def _part_name(number: int, digest: str, suffix: str) -> str:
    return f"part-{number:08}-{digest}{suffix}"
