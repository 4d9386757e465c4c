"""Answers of those who look for videos: rows, what cannot be a row, and remarks beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

from ivn.data.manifest.row import Row


@dataclass(frozen=True)
class Refused:
    """What is no row.

    Attributes:
        name: of the file, the line or the member.
        reason: in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Remark:
    """What is to be told of a place beside its rows; nothing of it is bad.

    Attributes:
        name: of the file.
        text: in a line.
    """

    name: str
    text: str


Found = Iterator[Row | Refused | Remark]
