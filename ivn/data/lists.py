"""Lists of videos: text files with one a line, read line by line."""

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ivn.data.manifest import Row
from ivn.data.source import IMAGE_SUFFIXES, NEVER_MIRRORED, VIDEO_SUFFIXES, DataError

_COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "file_name"),
    "label": ("label", "class", "label_id", "target"),
    "group": ("group",),
    "start": ("start", "start_time", "time_start"),
    "end": ("end", "end_time", "time_end"),
}
FORMS = "'path', 'path label', 'path 0 -1', 'path,label,start,end' or the release's six fields"


def read_list(place: Path) -> Iterator[tuple[int, Row | str]]:
    """Line numbers with what they say, or with what is wrong with them; paths as written.

    The forms are those of :func:`ivn.data.source.list_clips`.

    Raises:
        DataError: it is no UTF-8 text.
    """
    try:
        with place.open(encoding="utf-8-sig") as file:
            yield from _parsed(file)
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected a list as UTF-8 text") from error


def count_lines(place: Path) -> int:
    """How many lines :func:`read_list` gives, for whoever shows how far it has come."""
    with place.open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line for _, line in _told(file))
        first = list(_parsed(itertools.islice(lines, 1)))  # nothing of a header
        return len(first) + sum(1 for _ in lines)


def _told(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    for number, whole in enumerate(lines, 1):
        line = whole.strip()
        if line and not line.startswith("#"):
            yield number, line


def _parsed(lines: Iterator[str]) -> Iterator[tuple[int, Row | str]]:
    header: list[str] | None = None
    delimiter: str | None = None
    first = True
    for number, line in _told(lines):
        if first:
            delimiter = next((mark for mark in "\t," if mark in line), None)
        try:
            fields = line.split() if delimiter is None else _split(line, delimiter)
        except csv.Error as error:
            yield number, f"not fields parted by {delimiter!r} ({error})"
            continue
        if first:
            first, header = False, _header(fields)
            if header is not None:
                continue
        yield number, _row(fields, header, delimiter)


def _row(fields: list[str], header: list[str] | None, delimiter: str | None) -> Row | str:
    if header is not None:
        return _from_columns(dict(zip(header, fields, strict=False)))
    if delimiter is None:
        return _from_words(fields)
    if len(fields) not in (1, 2, 4):
        return f"{len(fields)} fields, expected {FORMS}"
    return _from_columns(dict(zip(["path", "label", "start", "end"], fields, strict=False)))


def _split(line: str, delimiter: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]


def _header(fields: list[str]) -> list[str] | None:
    """Our names of the columns, where the fields are a header with a path among them."""
    ours = {spelling: name for name, spellings in _COLUMNS.items() for spelling in spellings}
    names = [ours.get(field.lower(), field) for field in fields]
    for name in _COLUMNS:
        places = [place for place, one in enumerate(names) if one == name]
        exact = [place for place in places if fields[place].lower() == name]
        # Ours by its own spelling, else by the last of others; what is left is a column of its own.
        for place in places:
            if place != (exact or places)[-1]:
                names[place] = fields[place]
    return names if "path" in names else None


def _from_columns(row: dict[str, str]) -> Row | str:
    path = row.get("path", "")
    if not path:
        return "no path"
    times = _numbers([row.get("start") or "0", row.get("end") or "-1"])
    if times is None:
        return f"start {row.get('start')!r}, end {row.get('end')!r}: expected seconds"
    found = _windowed(path, row.get("label", ""), times[0], times[1])
    if isinstance(found, str):
        return found
    further = {
        name: value for name, value in row.items() if name and value and name not in _COLUMNS
    }
    return replace(found, group=row.get("group", ""), labels={**found.labels, **further})


def _from_words(words: list[str]) -> Row | str:
    """Of a line parted by spaces; a path with spaces is known by its suffix."""
    times = _numbers(words[-4:-1]) if len(words) >= 6 and not _is_video(words[:1]) else None
    if times is not None:
        found = _windowed(" ".join(words[1:-4]), words[-1], times[1], times[2])
        if isinstance(found, str):
            return found
        return replace(found, source=words[0], flip=words[0] not in NEVER_MIRRORED)
    if len(words) == 1 or _is_video(words):
        return Row(" ".join(words))
    if len(words) >= 3 and words[-2:] == ["0", "-1"]:
        return Row(" ".join(words[:-2]))
    if len(words) == 2 or _is_video(words[:-1]):
        return Row(" ".join(words[:-1]), labels={"label": words[-1]})
    return f"{len(words)} fields, expected {FORMS}"


def _windowed(path: str, label: str, start: float, end: float) -> Row | str:
    if start >= 0 and 0 <= end <= start:
        return f"starts at {start} s and ends at {end} s"
    labels = {"label": label} if label else {}
    return Row(path, start=max(start, 0.0), end=end if end >= 0 else -1.0, labels=labels)


def _numbers(fields: list[str]) -> list[float] | None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _is_video(words: list[str]) -> bool:
    return Path(" ".join(words)).suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES
