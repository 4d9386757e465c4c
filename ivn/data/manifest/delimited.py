"""Text files of records: fields parted by a mark, as RFC 4180 has them, or whole lines."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ivn.errors import DataError
from ivn.media.stand_in import HEAD, stand_in

# Of tables, in the order in which they are tried.
MARKS = ("\t", ",", ";", "|")
WHOLE_LINES = ""
# No text has it: with it each record is one field.
ONE_FIELD = "\x1f"
# Longer fields are no annotation; a damaged or foreign file must not fill the memory.
_LONGEST_FIELD = 2**24

Record = tuple[int, list[str] | str]


def records_in(place: Path, mark: str, *, skip: int = 0, comment: str = "") -> Iterator[Record]:
    """The lines at which records begin, from 1, each with its fields or with what is wrong with it.

    A field in double quotes may hold marks, line breaks, and quotes that are written twice. Lines
    end in LF, CRLF or CR. Nothing is taken off a field. Records without a word are passed over.

    Args:
        place: the file; a byte order mark at its beginning is not part of it.
        mark: that parts fields; spaces count as one. ``WHOLE_LINES`` gives lines as they are, and
            knows no quotes.
        skip: lines to pass over at the beginning.
        comment: what a line that is passed over begins with, followed by a space or by nothing;
            "" where every line says something. Not looked for inside of quotes.

    Raises:
        DataError: the file cannot be read, or is no UTF-8 text.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    lines = _Lines(lines_in(place), skip, comment)
    records: Iterator[list[str]]
    if mark == WHOLE_LINES:
        records = ([line.rstrip("\r\n")] for line in lines)
    else:
        records = csv.reader(lines, delimiter=mark, skipinitialspace=mark == " ", strict=True)
    while True:
        wrong = ""
        try:
            fields = next(records, None)
        except csv.Error as error:
            wrong = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        # Not inside `except`: whoever stops here would leave the file to the garbage collector.
        if wrong:
            yield lines.began, f"not fields parted by {mark!r} ({wrong})"
        elif fields is None:
            return
        elif any(map(str.strip, fields)):
            yield lines.began, fields
        lines.between = True


class _Lines:
    """Lines for a reader of records, which may take several for one.

    Attributes:
        began: number of the first line of the last record.
        between: whether the next line is the first of a record; whoever reads records says so.
    """

    def __init__(self, lines: Iterator[str], skip: int, comment: str) -> None:
        self._numbered = enumerate(lines, 1)
        self._skip, self._comment = skip, comment
        self.began = 0
        self.between = True

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        for number, line in self._numbered:
            if self.between:
                if number <= self._skip or self._is_comment(line):
                    continue
                self.began, self.between = number, False
            return line
        raise StopIteration

    def _is_comment(self, line: str) -> bool:
        if not self._comment or not line.startswith(self._comment):
            return False
        return line[len(self._comment) :].rstrip("\r\n")[:1] in ("", " ")


def lines_in(place: Path) -> Iterator[str]:
    """The lines as they are, with LF, CRLF or CR at their ends.

    Raises:
        DataError: the file cannot be read, or is no UTF-8 text.
    """
    try:
        _check_is_text(place)
        # Not str.splitlines, which parts lines at rarer characters too, such as U+2028.
        with place.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError:
        raise DataError(f"{place}: {_no_utf8(place)}") from None
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror})") from error


def text_in(place: Path) -> str:
    """All that the file says, without a byte order mark.

    Raises:
        DataError: as :func:`lines_in`.
    """
    return "".join(lines_in(place))


def _check_is_text(place: Path) -> None:
    with place.open("rb") as file:
        head = file.read(HEAD)
    if reason := stand_in(head):
        raise DataError(f"{place}: {reason}")
    marked = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    # Without a mark, every other byte of letters is zero.
    if marked or b"\0\0" in (head[0:3:2], head[1:4:2]):
        raise DataError(f"{place}: expected UTF-8 text, this looks like UTF-16: save it as UTF-8")


def _no_utf8(place: Path) -> str:
    """Which byte of a file is no UTF-8."""
    try:
        place.read_bytes().decode()
    except UnicodeDecodeError as error:
        return f"expected UTF-8 text, byte {error.start} is none"
    return "expected UTF-8 text, and it changed while it was read"
