"""Rows that pass through slow work into a new manifest, which can be stopped and goes on.

What is finished lies in parts in a folder FILE.partial beside the manifest to come. A part appears
whole or not at all, with a digest of the rows that went in: given the same rows again, finished
parts are taken as they are; from the first other row on the work is done anew.
"""

import collections
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ivn.data.manifest.parquet import Row, check_new, count_unusable, join_manifests, write_manifest
from ivn.data.manifest.row import values_of
from ivn.data.manifest.table import USABLE
from ivn.durable import held_partial
from ivn.errors import DataError

# A part is closed after this many rows or seconds, whichever is first.
_PART_ROWS = 8192
_PART_SECONDS = 20.0

Work = Callable[[Iterator[Row]], Iterator[Row]]


@dataclass
class Passed:
    """Counts of rows: all, those whose status says why they cannot be used, those from before."""

    rows: int = 0
    bad: int = 0
    earlier: int = 0

    def add(self, row: Row) -> None:
        self.rows += 1
        self.bad += row.status not in USABLE


def _nothing_more(_: Path) -> None:
    pass


def pass_through(
    place: Path,
    rows: Iterable[Row],
    work: Work,
    *,
    settings: Mapping[str, Any],
    report: Callable[[Passed, Row | None], None],
    finish: Callable[[Path], None] = _nothing_more,
) -> Passed:
    """Write what ``work`` makes of the rows to a new manifest at ``place``.

    Args:
        place: of the manifest.
        rows: in the same order each time.
        work: one row for each given, in their order.
        settings: of the work; parts that were made with others are refused.
        report: called with the counts so far and each row that is made; without a row after each
            part from before.
        finish: called with the whole manifest before it gets its name, so that what it makes is
            there when the manifest is.

    Raises:
        DataError: there is a manifest already, no row, parts of other settings, or a row that
            cannot be written.
        OSError: the disk is full, or not to be written to.
    """
    check_new(place)
    counts = Passed()
    with held_partial(place, settings) as folder:
        parts = _Parts(folder)
        waiting = parts.passed(iter(rows), counts, report)
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
                    parts.add([given.popleft() for _ in made], made)
                    made, since = [], time.monotonic()
        finally:
            # When stopped, too: what is done need not be done again.
            if made:
                parts.add([given.popleft() for _ in made], made)
        parts.join(place, finish)
    return counts


class _Parts:
    """The files of a folder, ``part-NUMBER-ROWS-DIGEST.parquet``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []

    def passed(
        self, rows: Iterator[Row], counts: Passed, report: Callable[[Passed, Row | None], None]
    ) -> Iterator[Row]:
        """What is left of the rows behind those that parts were made of; other parts go."""
        there = sorted(self._folder.glob("part-*-*-*.parquet"))
        for number, file in enumerate(there):
            _, found, length, digest = file.stem.split("-")
            some = list(itertools.islice(rows, int(length)))
            if int(found) != number or len(some) != int(length) or _digest(some) != digest:
                for other in there[number:]:
                    other.unlink()
                return itertools.chain(some, rows)
            self._files.append(file)
            counts.rows += len(some)
            counts.earlier += len(some)
            counts.bad += count_unusable(file)
            report(counts, None)
        return rows

    def add(self, given: list[Row], made: list[Row]) -> None:
        name = f"part-{len(self._files):08}-{len(made)}-{_digest(given)}.parquet"
        write_manifest(self._folder / name, made)
        self._files.append(self._folder / name)

    def join(self, place: Path, finish: Callable[[Path], None]) -> None:
        """Make one manifest of all, and remove them."""
        if not self._files:
            shutil.rmtree(self._folder)
            raise DataError(f"{place}: no rows to write")
        whole = self._folder / "whole.parquet"
        whole.unlink(missing_ok=True)
        join_manifests(whole, self._files)
        check_new(place)
        finish(whole)
        os.replace(whole, place)
        shutil.rmtree(self._folder)


def _digest(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(values_of(row)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]
