"""Makes rows of a list's records: of fields under columns, and of lines with spaces."""

import math
from collections.abc import Sequence
from dataclasses import replace

from ivn.data.manifest.row import NEVER_MIRRORED, Row
from ivn.media.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SUFFIXES = VIDEO_SUFFIXES + IMAGE_SUFFIXES
FORMS = "'path', 'path label', 'path 0 -1', 'path,label,start,end' or the release's six fields"


def from_columns(names: Sequence[str], fields: list[str]) -> Row | str:
    """Returns the row of fields under their columns, or the reason why the record is invalid.

    Spaces around fields are removed, except around the path: only the disk tells whether they are
    part of it.

    Args:
        names: names of the columns, with "path".
        fields: fields of the record.
    """
    if len(fields) != len(names) and (len(fields) < len(names) or any(fields[len(names) :])):
        return f"{field_count(fields)}, expected {len(names)} as in the first line"
    row = dict(zip(names, fields, strict=False))
    path = row.pop("path")
    if not path.strip():
        return "no path"
    start, end = row.pop("start", None), row.pop("end", None)
    times = _finite_numbers([(start or "").strip() or "0", (end or "").strip() or "-1"])
    if times is None:
        return f"start {start!r}, end {end!r}: expected seconds"
    group = row.pop("group", "").strip()
    label = row.pop("label", "")
    labels = {"label": label.strip(), **{name: value.strip() for name, value in row.items()}}
    labels = {name: value for name, value in labels.items() if name and value}
    return _windowed(Row(path, start=times[0], end=times[1], labels=labels, group=group))


# Path, label, start, end and source of a line with spaces between its fields.
Words = tuple[str, str, float, float, str]


def from_words(line: str) -> Row | str:
    """Returns the row of a line with spaces between its fields, or why the line is invalid."""
    words = words_of(line)
    if isinstance(words, str):
        return words
    path, label, start, end, source = words
    flip = source not in NEVER_MIRRORED
    labels = {"label": label} if label else {}
    return _windowed(Row(path, start=start, end=end, labels=labels, source=source, flip=flip))


def words_of(line: str) -> Words | str:
    """Splits a line at spaces; a path with spaces is recognised by its suffix."""
    head, last = _last(line)
    if has_video_suffix(line.rstrip()) or not head:
        return line, "", 0.0, -1.0, ""
    if has_video_suffix(head):
        return head, last, 0.0, -1.0, ""
    if six := _six(line):
        return six
    before, zero = _last(head)
    if (zero, last) == ("0", "-1") and before:
        return before, "", 0.0, -1.0, ""
    if not before:
        return head, last, 0.0, -1.0, ""
    return f"{field_count(line.split())}, expected {FORMS}"


def _six(line: str) -> Words | None:
    """Splits a line with the six fields of the release; None for any other."""
    words = line.rsplit(maxsplit=4)
    first = words[0].split(maxsplit=1)
    if len(words) != 5 or len(first) != 2 or has_video_suffix(first[0]):
        return None
    times = _finite_numbers(words[1:4])
    return (first[1], words[4], times[1], times[2], first[0]) if times else None


def _last(line: str) -> tuple[str, str]:
    """Splits off the last word; "" is before the only word."""
    head, *last = line.rsplit(maxsplit=1)
    return (head, last[0]) if last else ("", head.strip())


def _windowed(row: Row) -> Row | str:
    """Returns the row with times inside the file, or why they are invalid."""
    start, end = row.start, row.end
    if start >= 0 and 0 <= end <= start:
        return f"starts at {start} s and ends at {end} s"
    if start < 0 or (end < 0 and end != -1):
        return replace(row, start=max(start, 0.0), end=end if end >= 0 else -1.0)
    return row


def field_count(fields: Sequence[str]) -> str:
    """Returns the number of fields in words."""
    return "1 field" if len(fields) == 1 else f"{len(fields)} fields"


def _finite_numbers(fields: list[str]) -> list[float] | None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def has_video_suffix(path: str) -> bool:
    """Returns whether a path ends in the suffix of a video or an image."""
    return path.lower().endswith(SUFFIXES)
