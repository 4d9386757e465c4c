"""Items found at a place: rows, what cannot be a row, and remarks beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

from ivn.data.manifest.row import Row


@dataclass(frozen=True)
class UnusableItem:
    """An item that cannot be a row.

    Attributes:
        name: name of the file, the line or the member.
        reason: reason in a few words.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Remark:
    """A line about a file beside its rows; nothing in it is unusable.

    Attributes:
        name: name of the file.
        text: the line.
    """

    name: str
    text: str


Items = Iterator[Row | UnusableItem | Remark]
