"""Rows that pass through slow work into a new manifest, which can be stopped and continued.

What is finished lies in parts beside the manifest to come; see :class:`ivn.durable.Parts`. Given
the same rows again, finished parts are taken as they are; from the first other row on the work is
done again.
"""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivn.data.manifest.parquet import (
    MANIFEST_SUFFIX,
    Row,
    check_new,
    count_rows,
    count_unusable,
    join_manifests,
    write_manifest,
)
from ivn.data.manifest.row import values_of
from ivn.data.manifest.table import USABLE
from ivn.durable import Parts, digest, parts_of
from ivn.errors import DataError

# A part is closed after this many rows or seconds, whichever is first.
_PART_ROWS = 8192
_PART_SECONDS = 20.0

Work = Callable[[Iterator[Row]], Iterator[Row]]


@dataclass
class Passed:
    """Counts of rows.

    Attributes:
        rows: all rows.
        unusable: rows with an unusable status.
        earlier: rows taken from parts that an earlier call finished.
    """

    rows: int = 0
    unusable: int = 0
    earlier: int = 0

    def add(self, row: Row) -> None:
        self.rows += 1
        self.unusable += row.status not in USABLE

    def pace(self, seconds: float) -> str:
        """Returns how many rows are from before, and how many a second were made, after commas."""
        earlier = f", {self.earlier} from before" if self.earlier else ""
        return f"{earlier}, {(self.rows - self.earlier) / seconds:.1f} rows/s"


Report = Callable[[Passed, Row | None], None]


def pass_through(
    place: Path,
    rows: Iterable[Row],
    work: Work,
    *,
    settings: Mapping[str, Any],
    report: Report,
    finish: Callable[[Path], None] = lambda _: None,
) -> Passed:
    """Writes what ``work`` makes of the rows to a new manifest at ``place``.

    Args:
        place: path of the manifest.
        rows: the rows, in the same order each time.
        work: a function that gives one row for each row that it is given, in their order.
        settings: settings of the work; parts that were made with others are refused.
        report: called with the counts so far and each row that is made; without a row after each
            part from an earlier call.
        finish: called with the whole manifest before it gets its name, so that what it makes is
            there when the manifest is.

    Raises:
        DataError: there is a manifest already, no row, parts of other settings, or a row that
            cannot be written.
        WriteError: the disk is full, or not to be written to.
    """
    check_new(place)
    counts = Passed()
    with parts_of(place, settings) as parts:
        waiting = _passed(parts, iter(rows), counts, report)
        given: collections.deque[Row] = collections.deque()

        def noted() -> Iterator[Row]:
            for row in waiting:
                given.append(row)
                yield row

        made: list[Row] = []
        since = time.monotonic()
        try:
            for row in work(noted()):
                made.append(row)
                counts.add(row)
                report(counts, row)
                if len(made) >= _PART_ROWS or time.monotonic() - since > _PART_SECONDS:
                    _add(parts, [given.popleft() for _ in made], made)
                    made, since = [], time.monotonic()
        finally:
            # When stopped, too: what is done need not be done again.
            if made:
                _add(parts, [given.popleft() for _ in made], made)
        if not parts.paths:
            raise DataError(f"{place}: no rows to write")
        with parts.completed() as whole:
            join_manifests(whole, parts.paths)
            finish(whole)
    return counts


def _passed(parts: Parts, rows: Iterator[Row], counts: Passed, report: Report) -> Iterator[Row]:
    """Returns the rows behind those that parts were made of; other parts are removed."""
    for index, part in enumerate(list(parts.paths)):
        some = list(itertools.islice(rows, count_rows(part)))
        if not parts.keep(index, digest(map(values_of, some))):
            return itertools.chain(some, rows)
        counts.rows += len(some)
        counts.earlier += len(some)
        counts.unusable += count_unusable(part)
        report(counts, None)
    return rows


def _add(parts: Parts, given: list[Row], made: list[Row]) -> None:
    with parts.add(digest(map(values_of, given)), MANIFEST_SUFFIX) as path:
        write_manifest(path, made)
