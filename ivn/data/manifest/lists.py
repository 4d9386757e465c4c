"""Reads lists of sources: text files with one source per record."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ivn.data.manifest.delimited import DELIMITERS, ONE_FIELD, WHOLE_LINES, lines_in, records_in
from ivn.data.manifest.list_rows import (
    FORMS,
    SUFFIXES,
    field_count,
    from_columns,
    from_words,
    has_video_suffix,
    words_of,
)
from ivn.data.manifest.row import Row
from ivn.errors import DataError

_COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "file_name"),
    "label": ("label", "class", "label_id", "target"),
    "group": ("group",),
    "start": ("start", "start_time", "time_start"),
    "end": ("end", "end_time", "time_end"),
}
_OURS = {spelling: name for name, spellings in _COLUMNS.items() for spelling in spellings}
# Columns of a list without a header.
_DEFAULT_COLUMNS = ("path", "label", "start", "end")
_COMMENT = "#"
_USUAL = {".csv": ",", ".tsv": "\t"}
# A video's name that is followed by more.
_NAME_AND_MORE = re.compile(rf"({'|'.join(map(re.escape, SUFFIXES))})[\s,;|:]", re.IGNORECASE)
# Paths whose existence decides between two ways to read a list.
_TRIED_PATHS = 32


def read_list(path: Path) -> Iterator[tuple[int, Row | str]]:
    """Yields each record's line number with its row, or with the reason why it is invalid.

    Paths are as written. :func:`ivn.data.manifest.listing.list_clips` describes the forms of lists.

    Raises:
        DataError: The list is not UTF-8 text, or two of its columns have one name.
    """
    form = _form_of(path)
    for number, fields in _records(path, form):
        if isinstance(fields, str):
            yield number, fields
        else:
            row = from_words(fields[0]) if form.delimiter == WHOLE_LINES else form.row(fields)
            yield number, _settled(row, fields, form, path.parent)


def count_lines(path: Path) -> int:
    """Returns the number of records of :func:`read_list`, for progress bars."""
    return sum(1 for _ in _records(path, _form_of(path)))


@dataclass(frozen=True)
class _Form:
    """The form of the records of a list.

    Attributes:
        delimiter: character between the fields.
        header: names of the columns, as we spell them; () for a list without a header.
        line: line number of the header.
        named: whether the list has no header and some paths have a video's suffix.
    """

    delimiter: str
    header: Sequence[str] = ()
    line: int = 0
    named: bool = False

    def row(self, fields: list[str]) -> "Row | str":
        """Returns the row of separated fields, or why the record is invalid."""
        if any(value[:1] == " " and value.lstrip()[:1] == '"' for value in fields):
            return "a quote after a space: it must be the first character of the field"
        if self.header:
            return from_columns(self.header, fields)
        if len(fields) not in (1, 2, 4):
            return f"{field_count(fields)}, expected {FORMS}"
        return from_columns(_DEFAULT_COLUMNS[: len(fields)], fields)


def _records(path: Path, form: _Form) -> Iterator[tuple[int, list[str] | str]]:
    """Yields all records but the header. Programs write headers, and no comments after them."""
    if not form.header:
        yield from records_in(path, form.delimiter, comment=_COMMENT)
        return
    records = records_in(path, form.delimiter, skip=form.line - 1)
    next(records)
    yield from records


def _form_of(path: Path) -> _Form:
    for delimiter in (*DELIMITERS, " ", ONE_FIELD):
        line, fields = next(records_in(path, delimiter, comment=_COMMENT), (0, ""))
        if isinstance(fields, str) or (len(fields) == 1) != (delimiter == ONE_FIELD):
            continue
        names = _header(path, line, fields)
        if names and (delimiter != " " or set(names) <= set(_COLUMNS)):
            return _Form(delimiter, names, line)
    best = _best_trial(path)
    return _Form(best.delimiter, named=bool(best.named)) if best else _Form(WHOLE_LINES)


def _header(path: Path, line: int, fields: list[str]) -> list[str]:
    """Returns the columns as we spell them; [] where the fields are no header with a path."""
    fields = [name.strip() for name in fields]
    names = [_OURS.get(name.lower(), name) for name in fields]
    for name in _COLUMNS:
        indices = [index for index, known in enumerate(names) if known == name]
        exact = [index for index in indices if fields[index].lower() == name]
        # The column with our spelling is meant, or the last with another; the rest are labels.
        for index in indices:
            if index != (exact or indices)[-1]:
                names[index] = fields[index]
    if "path" not in names or any(map(has_video_suffix, fields)):
        return []
    if os.path.isfile(path.parent / fields[names.index("path")]):
        return []
    twice = next((name for name in names if name and names.count(name) > 1), "")
    if twice:
        raise DataError(f"{path}, line {line}: two columns are called {twice!r}")
    return names


def _best_trial(path: Path) -> "_Trial | None":
    """Chooses the delimiter of a list without a header, by all lines; None where it has none.

    Among the delimiters in the text it is the one by which most records begin with the name of a
    video; of equals, the one by which most paths exist; then one by which all records have equally
    many fields; then the usual one for the file's suffix.
    """
    present = _delimiters_in(path)
    if not present:
        return None
    trials = [
        _Trial(path, delimiter)
        for delimiter in (*DELIMITERS, WHOLE_LINES)
        if delimiter in present | {""}
    ]
    most = max(trial.named for trial in trials)
    best = [trial for trial in trials if trial.named == most]
    if len(best) == 1:
        return best[0]
    usual = _USUAL.get(path.suffix.lower())
    return max(best, key=lambda trial: (trial.exist(), trial.even, trial.delimiter == usual))


def _delimiters_in(path: Path) -> set[str]:
    present = set()
    for line in lines_in(path):
        for delimiter in DELIMITERS:
            if delimiter in line:
                present.add(delimiter)
        if line.startswith('"'):  # a table of one column
            present.add(",")
    return present


@dataclass
class _Trial:
    """A trial of reading a list with one delimiter.

    Attributes:
        path: path of the list.
        delimiter: delimiter of the trial.
        named: number of records that begin with the name of a video.
        even: whether all records have equally many fields, two or four.
    """

    path: Path
    delimiter: str
    named: int = 0
    even: bool = False
    _some: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        lengths = set()
        every = 1
        records = records_in(self.path, self.delimiter, comment=_COMMENT)
        for count, (_, fields) in enumerate(records):
            lengths.add(len(fields))
            self.named += self._begins_with_name(fields)
            if count % every == 0:
                self._some.append(self._path(fields))
            if len(self._some) == _TRIED_PATHS:
                del self._some[1::2]
                every *= 2
        self.even = lengths in ({2}, {4})

    def _begins_with_name(self, fields: list[str] | str) -> bool:
        """Returns whether the path is the name of a video, which most lines show at their end."""
        if self.delimiter == WHOLE_LINES and not fields[0].rstrip().lower().endswith(SUFFIXES):
            words = fields[0].rsplit(maxsplit=1)
            if len(words) == 1 or (not has_video_suffix(words[0]) and " " not in words[0].strip()):
                return False
        return has_video_suffix(self._path(fields))

    def exist(self) -> float:
        """Returns the share of paths that exist, among some from all parts of the list."""
        folder = self.path.parent
        return sum(os.path.isfile(folder / path) for path in self._some if path) / len(self._some)

    def _path(self, fields: list[str] | str) -> str:
        if isinstance(fields, str):
            return ""
        if self.delimiter == WHOLE_LINES:
            row = words_of(fields[0])
            return "" if isinstance(row, str) else row[0].strip()
        return fields[0].strip() if len(fields) in (1, 2, 4) else ""


def _settled(row: Row | str, fields: list[str], form: _Form, folder: Path) -> Row | str:
    """Returns the row with its path as on the disk, or why it cannot be meant."""
    if isinstance(row, str):
        return row
    path = row.path
    if path[0].isspace() or path[-1].isspace():
        if os.path.isfile(folder / path):
            return row
        path = path.strip()
        row = replace(row, path=path)
    if has_video_suffix(path):
        return row
    if _NAME_AND_MORE.search(path) and not os.path.isfile(folder / path):
        return f"{path!r} continues after the name of a video, expected {FORMS}"
    if form.named and len(fields) > 1 and not os.path.isfile(folder / path):
        return (
            f"{path!r} is neither a file nor the name of a video: a path with "
            f"{form.delimiter!r} in it needs quotes, and a first line that names the columns needs "
            "one called 'path'"
        )
    return row
