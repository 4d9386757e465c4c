"""Annotation files as lines, tables and JSON, each record with its place for error messages."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ivn.data.manifest.delimited import DELIMITERS, WHOLE_LINES, records_in, text_in
from ivn.errors import DataError

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "validation", "validate"),
    "test": ("test", "testing"),
}
# At the start of a word, which a digit, a capital, "list" or "set" may follow: trainlist01.txt.
_SPLIT_IN_NAME = re.compile(
    r"(?<![A-Za-z])(train(?:ing)?|val(?:idation|idate)?|test(?:ing)?)(?=[^a-z]|list|set|$)"
)
_LONGEST_MESSAGE = 300
_LONGEST_VIDEO = 1e8
_MOST_DIGITS = 18


@dataclass(frozen=True)
class RecordPlace:
    """The place of a record, for messages: ``train.csv, line 3`` or ``COIN.json, LtRSn-ntcLY``.

    Attributes:
        file: the annotation file.
        record: line or key of the record in it.
    """

    file: Path
    record: str

    @property
    def split(self) -> dict[str, str]:
        """The label ``split`` if the name of the file says which it is, else no label."""
        return split_by_name(self.file)

    def wrong(self, what: str) -> DataError:
        """Returns an error of one line with place and ``what``; a long one loses its middle."""
        what = " ".join(what.split())
        if len(what) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2
            what = f"{what[:half]}...{what[-half:]}"
        return DataError(f"{self.file}, {self.record}: {what}")


def read_lines(file: Path) -> Iterator[tuple[RecordPlace, str]]:
    """Yields the lines that are not empty, stripped.

    Raises:
        DataError: the file cannot be read, or is no UTF-8 text.
    """
    for number, fields in records_in(file, WHOLE_LINES):
        yield RecordPlace(file, f"line {number}"), fields[0].strip()


def read_table(file: Path, needed: Sequence[str]) -> Iterator[tuple[RecordPlace, dict[str, str]]]:
    """Yields the rows of a csv whose first line names its columns.

    Args:
        file: the csv, as :func:`ivn.data.manifest.delimited.records_in` reads it; semicolons, tabs
            or bars may be in the place of its commas.
        needed: columns without which it is another file.

    Raises:
        DataError: a needed column is missing, or a row has more or fewer fields than the first.
    """
    header: list[str] = []
    for place, fields in read_fields(file, _mark_of(file, needed)):
        if not header:
            header = fields
            lacking = [name for name in needed if name not in header]
            if lacking:
                raise place.wrong(
                    f"no column {', '.join(lacking)} among {_short(', '.join(header))}; "
                    f"expected {', '.join(needed)}"
                )
        elif len(fields) != len(header):
            raise place.wrong(f"{len(fields)} fields, expected {len(header)} as in the first line")
        else:
            yield place, dict(zip(header, fields, strict=True))
    if not header:
        raise DataError(f"{file}: empty, expected a first line with {', '.join(needed)}")


def read_fields(file: Path, delimiter: str = ",") -> Iterator[tuple[RecordPlace, list[str]]]:
    """Yields the rows of a csv that are not empty, as lists of fields without spaces around them.

    Raises:
        DataError: the file cannot be read, is no UTF-8 text, or has quotes that make no sense.
    """
    for number, fields in records_in(file, delimiter):
        place = RecordPlace(file, f"line {number}")
        if isinstance(fields, str):
            raise place.wrong(f"not a csv: {fields}")
        yield place, [field.strip() for field in fields]


def _mark_of(file: Path, needed: Sequence[str]) -> str:
    """Returns the delimiter; programs of many countries write semicolons into a csv."""
    for delimiter in DELIMITERS:
        _, fields = next(records_in(file, delimiter), (0, ""))
        if not isinstance(fields, str) and set(needed) <= {field.strip() for field in fields}:
            return delimiter
    return ","


def read_json(file: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        DataError: it is no JSON; the message has the line.
    """
    try:
        return json.loads(text_in(file))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}, line {error.lineno}: not JSON ({error.msg} at column {error.colno})"
        ) from error
    except ValueError as error:
        raise DataError(f"{file}: not JSON that can be read ({error})") from error
    except RecursionError as error:
        raise DataError(f"{file}: not JSON that can be read (nested too deeply)") from error


def read_records(file: Path) -> Iterator[tuple[RecordPlace, dict[str, Any]]]:
    """Yields the objects of a JSON list.

    Raises:
        DataError: it is no list of objects.
    """
    found = read_json(file)
    if not isinstance(found, list):
        raise DataError(f"{file}: {_kind(found)}, expected a list of objects")
    for number, record in enumerate(found, 1):
        place = RecordPlace(file, f"record {number}")
        if not isinstance(record, dict):
            raise place.wrong(f"{_kind(record)}, expected an object")
        yield place, record


def read_named(
    file: Path, *, inside: str = ""
) -> Iterator[tuple[RecordPlace, str, dict[str, Any]]]:
    """Yields the names and objects of a JSON object of objects.

    Args:
        file: the JSON file.
        inside: key of the object in the file; "" is the file's own object.

    Raises:
        DataError: it is no such object.
    """
    found = read_json(file)
    if inside:
        if not isinstance(found, dict) or inside not in found:
            raise DataError(f'{file}: {_kind(found)}, expected an object with the key "{inside}"')
        found = found[inside]
    if not isinstance(found, dict):
        raise DataError(f"{file}: {_kind(found)}, expected an object with a name for each video")
    for name, record in found.items():
        place = RecordPlace(file, _short(name, 40))
        if not isinstance(record, dict):
            raise place.wrong(f"{_kind(record)}, expected an object")
        yield place, name, record


def classes_and_lists(
    files: Sequence[Path], names_classes: Callable[[Path], object]
) -> tuple[list[Path], list[Path]]:
    """Returns the files that name classes, and the lists of videos.

    Raises:
        DataError: there are no lists.
    """
    classes = [file for file in files if names_classes(file)]
    lists = [file for file in files if file not in classes]
    if not lists:
        raise DataError(f"{files[0]}: names of classes alone, expected lists of videos beside them")
    return classes, lists


def text_of(place: RecordPlace, record: dict[str, Any], key: str) -> str:
    """Returns the text under ``key``, which must not be empty; whole numbers as they are written.

    Raises:
        DataError: it is not.
    """
    value = record.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        lacks = "is not there" if key not in record else f"is {_short(repr(value))}"
        raise place.wrong(f'"{key}" {lacks}, expected a text')
    return value.strip()


def list_of(place: RecordPlace, record: dict[str, Any], key: str, kind: type) -> list[Any]:
    """Returns the list under ``key``, of values of one kind.

    Raises:
        DataError: there is none, or one of its values is of another kind.
    """
    value = record.get(key)
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):
        lacks = "is not there" if key not in record else f"is {_short(repr(value))}"
        names = {dict: "objects", str: "texts", list: "lists", int: "whole numbers"}
        raise place.wrong(f'"{key}" {lacks}, expected a list of {names[kind]}')
    return value


def seconds(place: RecordPlace, name: str, value: object) -> float:
    """Returns a time, from a number or from text that is one.

    Raises:
        DataError: it is no number, negative, not finite, or three years and more.
    """
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        raise place.wrong(f"{name} is {_short(repr(value))}, expected seconds")
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not 0 <= found < _LONGEST_VIDEO:
        raise place.wrong(f"{name} is {_short(repr(value))}, expected seconds")
    return found


def whole_number(place: RecordPlace, name: str, value: str) -> int:
    """Returns a whole number from 0 on.

    Raises:
        DataError: it is none.
    """
    if not (value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS):
        raise place.wrong(f"{name} is {_short(repr(value))}, expected a whole number")
    return int(value)


def split_of(place: RecordPlace, name: str, value: object) -> str:
    """Returns ``train``, ``val`` or ``test``, for each spelling that the sets have.

    Raises:
        DataError: it is none of them.
    """
    for split, spellings in _SPLITS.items():
        if isinstance(value, str) and value.strip().lower() in spellings:
            return split
    raise place.wrong(
        f"{name} is {_short(repr(value))}, expected train, val, test or a spelling of these"
    )


@lru_cache
def split_by_name(file: Path) -> dict[str, str]:
    """Returns the label ``split`` if the name of a file says which it is, else no label."""
    words = {found.lower() for found in _SPLIT_IN_NAME.findall(file.name)}
    named = {split for split, spellings in _SPLITS.items() if words & set(spellings)}
    return {"split": named.pop()} if len(named) == 1 else {}


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    if isinstance(value, dict) and value:
        return f"an object with the keys {_short(', '.join(map(str, value)))}"
    return kinds.get(type(value), "a number")


def _short(text: str, longest: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."
