"""The contract of an importer, and the table of all importers.

An importer is a function in a module of its own that declares itself::

    @importer(
        "waves",
        files="`waves.csv`",
        row="a video",
        labels="`label`",
        group="the film",
        recognises=lambda head: head.columns("film", "wave"),
    )
    def read_waves(files: Sequence[Path], videos: Videos) -> Iterator[Row]: ...

The import of that module in ``ivn/corpus/importers/__init__.py`` makes it known.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ivn.corpus.importers.text import read_fields, read_json, read_lines
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.row import Row

Read = Callable[[Sequence[Path], Videos], Iterator[Row]]

_LOOKED_AT = 20


class FileHead:
    """The beginning of an annotation file, by which an importer may recognise it.

    A file is read when it is first asked about, and raises DataError where it cannot be.

    Attributes:
        file: path of the file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self, pattern: str) -> bool:
        """Returns whether the file is text, and its first lines all match the pattern."""
        some = self._lines
        return bool(some) and all(re.fullmatch(pattern, line) for line in some)

    def columns(self, *names: str) -> bool:
        """Returns whether the file is a csv whose first line begins with these names."""
        return self._header[: len(names)] == [*names]

    def has_columns(self, *names: str) -> bool:
        """Returns whether the file is a csv whose first line has these names."""
        return set(names) <= set(self._header)

    def keys(self, *names: str) -> bool:
        """Returns whether the file is a JSON object with these keys."""
        return _has(self._json, names)

    def records(self, *names: str) -> bool:
        """Returns whether the file is a JSON list whose first object has these keys."""
        return isinstance(self._json, list) and _has(next(iter(self._json), None), names)

    def database(self, *names: str) -> bool:
        """Returns whether the first object in the JSON's ``database`` has these keys."""
        inside = self._json.get("database") if isinstance(self._json, dict) else None
        return isinstance(inside, dict) and _has(next(iter(inside.values()), None), names)

    @property
    def _is_json(self) -> bool:
        return self.file.suffix.lower() == ".json"

    @cached_property
    def _json(self) -> Any:
        return read_json(self.file) if self._is_json else None

    @cached_property
    def _lines(self) -> list[str]:
        if self._is_json:
            return []
        return [line for _, line in itertools.islice(read_lines(self.file), _LOOKED_AT)]

    @cached_property
    def _header(self) -> list[str]:
        if self.file.suffix.lower() != ".csv":
            return []
        return next((fields for _, fields in read_fields(self.file)), [])


@dataclass(frozen=True)
class Importer:
    """A format of annotations; its texts are the row of the table in docs/data.md.

    Attributes:
        name: name that ``--format`` takes.
        read: function from annotation files and the videos to rows, file by file in their order.
        files: files to give.
        row: part of a video that a row is.
        labels: labels and captions of a row.
        group: unit that no split may separate.
        recognises: whether a file shows beyond doubt that it has this format.
    """

    name: str
    read: Read
    files: str
    row: str
    labels: str
    group: str
    recognises: Callable[[FileHead], bool]


IMPORTERS: dict[str, Importer] = {}


def importer(
    name: str,
    *,
    files: str,
    row: str,
    group: str,
    labels: str = "",
    recognises: Callable[[FileHead], bool] = lambda _: False,
) -> Callable[[Read], Read]:
    """Returns a decorator that makes a function known as an importer.

    The arguments are the attributes of :class:`Importer`. By default rows have no labels, and no
    file shows that it has this format.
    """

    def known(read: Read) -> Read:
        assert name not in IMPORTERS, f"two importers are called {name}"
        IMPORTERS[name] = Importer(name, read, files, row, labels, group, recognises)
        return read

    return known


def _has(record: Any, names: Sequence[str]) -> bool:
    return isinstance(record, dict) and set(names) <= set(record)
