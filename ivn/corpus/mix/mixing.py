"""One manifest of several, without copies: the rows that stay, and why each other one goes.

Rows are judged in this order: those of a validation or test set first, where a recipe holds them
out, then those of each source in turn. A row goes if one that was there before has the same video
or, where the recipe says so, the same group.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

from ivn.corpus.mix.recipe import Recipe, Wanted
from ivn.data.manifest.parquet import read_rows
from ivn.data.manifest.row import Row
from ivn.data.manifest.table import USABLE
from ivn.errors import DataError
from ivn.media.source import Source

_HELD_OUT = ("val", "test")
# Two parts of one video are the same clip if they share this much of the shorter.
_SHARED = 0.5
_UNKNOWN_NAMED = 5


class Why(Enum):
    """Reasons why a row is not in the mix; the values stand in reports."""

    STATUS = "its status says why"
    UNREADABLE = "cannot be read"
    SPLIT = "in a validation or test set"
    GROUP_HELD_OUT = "group is in a validation or test set"
    COPY_HELD_OUT = "copy of one in a validation or test set"
    NEAR_HELD_OUT = "looks like one in a validation or test set"
    GROUP = "group is in an earlier source"
    COPY = "copy"
    NEAR = "looks the same"


@dataclass(slots=True)
class Entry:
    """The columns of a row that decide about it; there may be millions of rows.

    Attributes:
        source: number of its source.
        path: absolute path.
        member, offset, start, end, group: columns of the row.
        bytes: size of the video; 0 if the manifest does not say.
        split: label ``split`` of the row.
        hash, phash: columns of the row, or the values that were found since.
        why: reason why it is not in the mix; None while it is.
        of: number of the entry for which it goes, -1 for none.
        note: reason in words, if its status has one or it cannot be read.
    """

    source: int
    path: str
    member: str
    offset: int
    bytes: int
    start: float
    end: float
    group: str
    split: str
    hash: str
    phash: str
    why: Why | None = None
    of: int = -1
    note: str = ""

    @property
    def video(self) -> Source:
        """Whole file or member."""
        return replace(self.clip, start=0.0, end=-1.0)

    @property
    def clip(self) -> Source:
        """Window of the video."""
        row = Row(self.path, self.member, self.offset, self.start, self.end, bytes=self.bytes)
        return row.as_source()

    @property
    def held_out(self) -> bool:
        """Whether no other row may be like it."""
        return self.why is Why.SPLIT

    def drop(self, why: Why, of: int = -1, note: str = "") -> None:
        """Takes it out of the mix."""
        self.why, self.of, self.note = why, of, note


@dataclass
class Entries:
    """All rows of all sources, in order.

    Attributes:
        recipe: rules of the mix.
        sources: the recipe's sources with their manifests.
        all: the rows.
        not_compared: pairs of numbers of rows that look alike and could not be compared, so that
            both stay, and the reason.
    """

    recipe: Recipe
    sources: Sequence[tuple[Wanted, Path]]
    all: list[Entry] = field(default_factory=list)
    not_compared: list[tuple[int, int, str]] = field(default_factory=list)

    def judged(self) -> list[int]:
        """Returns the numbers of the rows that take part, in order: of copies the first stays."""
        held = [number for number, one in enumerate(self.all) if one.held_out]
        kept = [number for number, one in enumerate(self.all) if one.why is None]
        return held + kept


def read_entries(recipe: Recipe, sources: Sequence[tuple[Wanted, Path]]) -> Entries:
    """Returns the rows of the manifests; those with an unusable status or held-out split are out.

    Raises:
        DataError: a manifest cannot be read, or a label is not among the recipe's classes.
    """
    entries = Entries(recipe, sources)
    unknown: dict[str, int] = {}
    known = {""}
    for number, (_, path) in enumerate(sources):
        for row in read_rows(path):
            label = row.labels.get("label", "")
            entry = Entry(
                number,
                row.path,
                row.member,
                row.offset,
                row.bytes,
                row.start,
                row.end,
                row.group,
                row.labels.get("split", ""),
                row.hash,
                row.phash,
            )
            if row.status not in USABLE:
                entry.drop(Why.STATUS, note=row.status)
            elif recipe.training_only and entry.split in _HELD_OUT:
                entry.drop(Why.SPLIT)
            if label in known or recipe.label(label):
                known.add(label)
            else:
                unknown[label] = unknown.get(label, 0) + 1
            entries.all.append(entry)
    if unknown:
        some = ", ".join(repr(label) for label in list(unknown)[:_UNKNOWN_NAMED])
        raise DataError(
            f"{sum(unknown.values())} rows have labels that are not among the "
            f"{len(recipe.class_names)} classes of the recipe: {some}"
        )
    return entries


def drop_by_group(entries: Entries) -> None:
    """Takes out rows whose group is held out or, if the recipe says so, in an earlier source."""
    first: dict[str, int] = {}
    for number in entries.judged():
        entry = entries.all[number]
        if not entry.group:
            continue
        before = first.setdefault(entry.group, number)
        other = entries.all[before]
        if other.held_out and not entry.held_out:
            entry.drop(Why.GROUP_HELD_OUT, before)
        elif entry.held_out or other.source == entry.source:
            continue
        elif entries.recipe.one_source_a_group:
            entry.drop(Why.GROUP, before)


def drop_copies(entries: Entries) -> None:
    """Takes out rows whose video has the bytes of an earlier one, and about the same window."""
    before: dict[str, list[int]] = {}
    for number in entries.judged():
        entry = entries.all[number]
        if not entry.hash:
            continue
        alike = before.setdefault(entry.hash, [])
        same = next((one for one in alike if _same_part(entries.all[one], entry)), -1)
        if same < 0:
            alike.append(number)
        elif not entry.held_out:
            held = entries.all[same].held_out
            entry.drop(Why.COPY_HELD_OUT if held else Why.COPY, same)


def drop_near(entries: Entries, pairs: Sequence[tuple[int, int]]) -> None:
    """Takes out rows that show the same as an earlier one.

    Args:
        entries: rows of all sources.
        pairs: numbers of two rows each that show the same.
    """
    place = {number: place for place, number in enumerate(entries.judged())}
    ordered = sorted(
        (sorted(pair, key=place.__getitem__) for pair in pairs),
        key=lambda pair: (place[pair[1]], place[pair[0]]),
    )
    for first, second in ordered:
        one, other = entries.all[first], entries.all[second]
        # A row that has gone itself takes no other with it: that may be a cut of something else.
        if other.why is None and (one.why is None or one.held_out):
            other.drop(Why.NEAR_HELD_OUT if one.held_out else Why.NEAR, first)


def comparable(one: Entry, other: Entry) -> bool:
    """Returns whether one could go for the other: parts of one file of one source never do."""
    if one.held_out and other.held_out:
        return False
    return one.source != other.source or _file(one) != _file(other)


def _same_part(one: Entry, other: Entry) -> bool:
    """Returns whether two parts of the same bytes are the same clip."""
    if one.source == other.source and _file(one) == _file(other):
        return (one.start, one.end) == (other.start, other.end)
    ends = [math.inf if part.end < 0 else part.end for part in (one, other)]
    starts = [one.start, other.start]
    shorter = min(end - start for start, end in zip(starts, ends, strict=True))
    return min(ends) - max(starts) >= _SHARED * shorter


def _file(entry: Entry) -> tuple[str, str]:
    return entry.path, entry.member
