"""The videos of a data set on the disk, found by the names that its annotations give."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ivn.data.manifest.listing import files_below
from ivn.errors import DataError
from ivn.media.source import VIDEO_SUFFIXES

# Names in a message: enough to see what is wrong, few enough to read.
_NAMED = 5


@dataclass
class LeftOut:
    """Count of rows that no manifest can have, with the names of the first few.

    Attributes:
        count: number of rows.
        first: names of the first few.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Counts one row; a name is kept once."""
        self.count += 1
        if len(self.first) < _NAMED and name not in self.first:
            self.first.append(name)

    def __str__(self) -> str:
        more = "" if self.count <= len(self.first) else ", ..."
        return f"{self.count} ({', '.join(self.first)}{more})" if self.count else "0"


class Videos:
    """The videos below a folder, by name, with the count of those that were not found.

    The folder is read once, when the first name is asked for.

    Attributes:
        folder: absolute path.
        missing: rows whose video is not there.
        unusable: rows with a segment that ends before it starts.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises DataError if there is no such folder."""
        self.folder = os.path.abspath(folder)
        if not os.path.isdir(self.folder):
            raise DataError(f"{os.fspath(folder)}: no such folder of videos")
        self.missing = LeftOut()
        self.unusable = LeftOut()
        self._below: dict[str, list[str]] = {}

    def find(self, *names: str) -> str:
        """Returns the path of the first name that is there; "", and counts it, if none is.

        A name may have folders before it, and a video's suffix: ``v_abc``, ``Archery/v_abc.avi``.
        Any suffix of a video will do in the folder, and folders beyond those named, or none at
        all; spaces in a folder's name may be underscores. Of several files the first is taken, by
        their paths in order.
        """
        if not self._below:
            self._read()
        for name in names:
            folders = _plain(name).split("/")[:-1]
            base = name.rpartition("/")[2]
            for stem in dict.fromkeys((base, _stem(base))):
                for path in self._below.get(stem, ()):
                    if _agree(folders, _plain(os.path.dirname(path)).split("/")):
                        return os.path.join(self.folder, path)
        self.missing.add(names[0])
        return ""

    def at(self, path: str) -> str:
        """Returns the absolute form of ``path``; "", and counts it, if no file is there."""
        whole = os.path.join(self.folder, path)
        if os.path.isfile(whole):
            return whole
        self.missing.add(path)
        return ""

    def _read(self) -> None:
        for path in sorted(_videos_below(self.folder)):
            self._below.setdefault(_stem(os.path.basename(path)), []).append(path)
        if not self._below:
            raise DataError(f"{self.folder}: no videos in this folder ({' '.join(VIDEO_SUFFIXES)})")


def _videos_below(folder: str) -> Iterator[str]:
    """Yields paths relative to ``folder``; links are followed, none in a circle."""
    before = len(os.path.join(folder, ""))
    for path in files_below(folder, lambda _: None):
        if Path(path).suffix.lower() in VIDEO_SUFFIXES:
            yield path[before:]


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def _plain(folders: str) -> str:
    return folders.replace(" ", "_")


def _agree(wanted: list[str], there: list[str]) -> bool:
    """Returns whether the folders next to the file are the same, as far as both have some."""
    there = [folder for folder in there if folder]
    both = min(len(wanted), len(there))
    return not both or wanted[-both:] == there[-both:]
