"""Lists of videos: text files with one a record, read one after another."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ivn.data.manifest.delimited import MARKS, ONE_FIELD, WHOLE_LINES, lines_in, records_in
from ivn.data.manifest.list_rows import (
    FORMS,
    SUFFIXES,
    counted,
    from_columns,
    from_words,
    is_video,
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
# Fields of a record where no header names them.
_UNNAMED = ("path", "label", "start", "end")
_COMMENT = "#"
_USUAL = {".csv": ",", ".tsv": "\t"}
# A video's name with more behind it.
_GOES_ON = re.compile(rf"({'|'.join(map(re.escape, SUFFIXES))})[\s,;|:]", re.IGNORECASE)
# Paths that are looked for on the disk where a list could be read in two ways.
_LOOKED_FOR = 32


def read_list(place: Path) -> Iterator[tuple[int, Row | str]]:
    """Lines at which records begin, with their rows, or with what is wrong; paths as written.

    The forms are those of :func:`ivn.data.manifest.listing.list_clips`.

    Raises:
        DataError: it is no UTF-8 text, or two of its columns have one name.
    """
    form = _form_of(place)
    for number, fields in _records(place, form):
        if isinstance(fields, str):
            yield number, fields
        else:
            row = from_words(fields[0]) if form.mark == WHOLE_LINES else form.row(fields)
            yield number, _settled(row, fields, form, place.parent)


def count_lines(place: Path) -> int:
    """How many records :func:`read_list` gives, for whoever shows how far it has come."""
    return sum(1 for _ in _records(place, _form_of(place)))


@dataclass(frozen=True)
class _Form:
    """How the records of a list are written.

    Attributes:
        mark: that parts the fields.
        header: our names of the columns; () where the first record is as all others.
        line: at which the header begins.
        named: whether fields are parted, without a header, and some paths have a video's suffix.
    """

    mark: str
    header: Sequence[str] = ()
    line: int = 0
    named: bool = False

    def row(self, fields: list[str]) -> "Row | str":
        """A row of fields that a mark parts."""
        if any(value[:1] == " " and value.lstrip()[:1] == '"' for value in fields):
            return "a quote behind a space: it has to be the first character of the field"
        if self.header:
            return from_columns(self.header, fields)
        if len(fields) not in (1, 2, 4):
            return f"{counted(fields)}, expected {FORMS}"
        return from_columns(_UNNAMED[: len(fields)], fields)


def _records(place: Path, form: _Form) -> Iterator[tuple[int, list[str] | str]]:
    """All but the header. Behind one there are no comments: programs that write it know none."""
    if not form.header:
        yield from records_in(place, form.mark, comment=_COMMENT)
        return
    records = records_in(place, form.mark, skip=form.line - 1)
    next(records)
    yield from records


def _form_of(place: Path) -> _Form:
    for mark in (*MARKS, " ", ONE_FIELD):
        line, fields = next(records_in(place, mark, comment=_COMMENT), (0, ""))
        if isinstance(fields, str) or (len(fields) == 1) != (mark == ONE_FIELD):
            continue
        names = _header(place, line, fields)
        if names and (mark != " " or set(names) <= set(_COLUMNS)):
            return _Form(mark, names, line)
    best = _best_trial(place)
    return _Form(best.mark, named=bool(best.named)) if best else _Form(WHOLE_LINES)


def _header(place: Path, line: int, fields: list[str]) -> list[str]:
    """Our names of the columns, where the fields are a header with a path among them; else []."""
    fields = [name.strip() for name in fields]
    names = [_OURS.get(name.lower(), name) for name in fields]
    for name in _COLUMNS:
        places = [at for at, one in enumerate(names) if one == name]
        exact = [at for at in places if fields[at].lower() == name]
        # Ours by its own spelling, else by the last of others; what is left is a column of its own.
        for at in places:
            if at != (exact or places)[-1]:
                names[at] = fields[at]
    if "path" not in names or any(map(is_video, fields)):
        return []
    if os.path.isfile(place.parent / fields[names.index("path")]):
        return []
    twice = next((name for name in names if name and names.count(name) > 1), "")
    if twice:
        raise DataError(f"{place}, line {line}: two columns are called {twice!r}")
    return names


def _best_trial(place: Path) -> "_Trial | None":
    """How a list without a header is read, by all of its lines; None where it has no marks.

    Of the marks that are in the text, the one by which most records begin with the name of a video;
    then the one by which most paths are there; then one by which all records have as many fields;
    then the one that is usual under the file's name.
    """
    present = _marks_in(place)
    if not present:
        return None
    trials = [_Trial(place, mark) for mark in (*MARKS, WHOLE_LINES) if mark in present | {""}]
    most = max(trial.named for trial in trials)
    best = [trial for trial in trials if trial.named == most]
    if len(best) == 1:
        return best[0]
    usual = _USUAL.get(place.suffix.lower())
    return max(best, key=lambda one: (one.there(), one.even, one.mark == usual))


def _marks_in(place: Path) -> set[str]:
    found = set()
    for line in lines_in(place):
        for mark in MARKS:
            if mark in line:
                found.add(mark)
        if line.startswith('"'):  # a table of one column
            found.add(",")
    return found


@dataclass
class _Trial:
    """A list read with one mark.

    Attributes:
        place: of the list.
        mark: of the trial.
        named: records that begin with the name of a video.
        even: whether all records have as many fields, two or four.
    """

    place: Path
    mark: str
    named: int = 0
    even: bool = False
    _some: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        lengths = set()
        every = 1
        records = records_in(self.place, self.mark, comment=_COMMENT)
        for count, (_, fields) in enumerate(records):
            lengths.add(len(fields))
            self.named += self._begins_with_name(fields)
            if count % every == 0:
                self._some.append(self._path(fields))
            if len(self._some) == _LOOKED_FOR:
                del self._some[1::2]
                every *= 2
        self.even = lengths in ({2}, {4})

    def _begins_with_name(self, fields: list[str] | str) -> bool:
        """Whether the path is the name of a video; most lines need not be read for that."""
        if self.mark == WHOLE_LINES and not fields[0].rstrip().lower().endswith(SUFFIXES):
            words = fields[0].rsplit(maxsplit=1)
            if len(words) == 1 or (not is_video(words[0]) and " " not in words[0].strip()):
                return False
        return is_video(self._path(fields))

    def there(self) -> float:
        """The share of paths that are there, of some from all parts of the list."""
        folder = self.place.parent
        return sum(os.path.isfile(folder / path) for path in self._some if path) / len(self._some)

    def _path(self, fields: list[str] | str) -> str:
        if isinstance(fields, str):
            return ""
        if self.mark == WHOLE_LINES:
            row = words_of(fields[0])
            return "" if isinstance(row, str) else row[0].strip()
        return fields[0].strip() if len(fields) in (1, 2, 4) else ""


def _settled(row: Row | str, fields: list[str], form: _Form, folder: Path) -> Row | str:
    """The row with its path as it is on the disk, or what speaks against this reading of it."""
    if isinstance(row, str):
        return row
    path = row.path
    if path[0].isspace() or path[-1].isspace():
        if os.path.isfile(folder / path):
            return row
        path = path.strip()
        row = replace(row, path=path)
    if is_video(path):
        return row
    if _GOES_ON.search(path) and not os.path.isfile(folder / path):
        return f"{path!r} goes on behind the name of a video, expected {FORMS}"
    if form.named and len(fields) > 1 and not os.path.isfile(folder / path):
        return (
            f"{path!r} is neither a file nor the name of a video: a path with {form.mark!r} in it "
            "needs quotes, and a first line that names the columns needs one called 'path'"
        )
    return row
