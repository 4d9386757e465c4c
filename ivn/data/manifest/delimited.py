"""Reads records from text files: fields between delimiters, as in RFC 4180, or whole lines."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ivn.errors import DataError
from ivn.media.stand_in import HEAD, stand_in

# Delimiters of tables, in the order in which they are tried.
DELIMITERS = ("\t", ",", ";", "|")
WHOLE_LINES = ""
# A character of no text: with it as delimiter each record is one field.
ONE_FIELD = "\x1f"
# A longer field is no annotation: a damaged or foreign file must not fill the memory.
_MAX_FIELD_LENGTH = 2**24

Record = tuple[int, list[str] | str]


def records_in(path: Path, delimiter: str, *, skip: int = 0, comment: str = "") -> Iterator[Record]:
    """Yields each record's line number, from 1, with its fields or the reason why it is invalid.

    A field in double quotes may have delimiters, line breaks, and quotes that are written twice.
    Lines end in LF, CRLF or CR. Fields keep their spaces. Blank records are skipped.

    Args:
        path: file to read; a byte order mark at its beginning is ignored.
        delimiter: character between fields; several spaces count as one. ``WHOLE_LINES`` yields
            lines as they are, without a meaning of quotes.
        skip: number of lines to skip at the beginning.
        comment: beginning of a line that is skipped, where a space or nothing follows and the line
            is not inside quotes; "" for no comments.

    Raises:
        DataError: The file cannot be read, or is not UTF-8 text.
    """
    csv.field_size_limit(_MAX_FIELD_LENGTH)
    lines = _Lines(lines_in(path), skip, comment)
    records: Iterator[list[str]]
    if delimiter == WHOLE_LINES:
        records = ([line.rstrip("\r\n")] for line in lines)
    else:
        records = csv.reader(
            lines, delimiter=delimiter, skipinitialspace=delimiter == " ", strict=True
        )
    while True:
        wrong = ""
        try:
            fields = next(records, None)
        except csv.Error as error:
            wrong = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        # Not inside `except`: a caller who stops here would leave the file to the garbage
        # collector.
        if wrong:
            yield lines.began, f"not fields separated by {delimiter!r} ({wrong})"
        elif fields is None:
            return
        elif any(map(str.strip, fields)):
            yield lines.began, fields
        lines.between = True


class _Lines:
    """An iterator over lines for a reader whose records may span several lines.

    Attributes:
        began: number of the first line of the last record.
        between: whether the next line begins a record; the reader of records sets it.
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


def lines_in(path: Path) -> Iterator[str]:
    """Yields the lines of a text file with their ends: LF, CRLF or CR.

    Raises:
        DataError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        _check_is_text(path)
        # Not str.splitlines, which also splits at other characters, such as U+2028.
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except UnicodeDecodeError:
        raise DataError(f"{path}: {_not_utf8(path)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def text_in(path: Path) -> str:
    """Returns the text of a file, without a byte order mark.

    Raises:
        DataError: The file cannot be read, or is not UTF-8 text.
    """
    return "".join(lines_in(path))


def _check_is_text(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if reason := stand_in(head):
        raise DataError(f"{path}: {reason}")
    marked = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    # Without a byte order mark, every other byte of letters is zero.
    if marked or b"\0\0" in (head[0:3:2], head[1:4:2]):
        raise DataError(f"{path}: expected UTF-8 text, this looks like UTF-16: save it as UTF-8")


def _not_utf8(path: Path) -> str:
    """Returns a reason that names the first byte of a file that is not UTF-8."""
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError as error:
        return f"expected UTF-8 text, byte {error.start} is not"
    return "expected UTF-8 text, and it changed while it was read"
