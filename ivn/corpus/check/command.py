"""``ivn data check``: a manifest with each video's status, and a list of the bad ones."""

import collections
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ivn.corpus.check.decoding import DecodeAll
from ivn.corpus.check.options import Check
from ivn.corpus.cluster import Spread, spread
from ivn.corpus.index.probing import source_of
from ivn.corpus.progress import line_of, verdict, watching
from ivn.corpus.resumable import pass_through
from ivn.data.manifest.parquet import Row, count_rows, manifest_at, read_rows
from ivn.data.manifest.table import OK, USABLE
from ivn.durable import partial
from ivn.errors import DataError
from ivn.media.source import Source
from ivn.processes import cores


def check(request: Check) -> int:
    """Write the manifest and the list; gives 0, or 1 where more rows are bad than allowed.

    Raises:
        DataError: the manifest cannot be read, or the new one cannot be written.
    """
    place, given = Path(request.out), manifest_at(request.manifest)
    bad_list = place.with_suffix(".bad.txt")
    # With a manifest begun beside it, it is of a call that was cut off at its very end.
    if bad_list.exists() and not partial(place).exists():
        raise DataError(f"{bad_list}: is there already, and is not overwritten")
    total = count_rows(given)
    if not total:
        raise DataError(f"{given}: a manifest without rows")
    workers = request.workers or cores()
    how = spread(workers=workers, seconds=request.seconds, ray=request.ray)
    settings = {"command": "check", "seconds": request.seconds}
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    with watching(console, total=total) as report:

        def work(rows: Iterator[Row]) -> Iterator[Row]:
            return checked(rows, place.parent.absolute(), DecodeAll(request.seconds), how)

        rows = read_rows(given, beside=place)
        counts = pass_through(
            place,
            rows,
            work,
            settings=settings,
            report=report,
            finish=lambda whole: _write_list(bad_list, whole, place.parent.absolute()),
        )
    seconds = time.monotonic() - began
    earlier = f", {counts.earlier} from before" if counts.earlier else ""
    console.print(
        f"{counts.rows} rows checked{earlier}, "
        f"{(counts.rows - counts.earlier) / seconds:.1f} rows/s; {counts.bad} cannot be used"
        + (f": {bad_list.as_posix()}" if counts.bad else ""),
        markup=False,
    )
    console.print(place.as_posix(), markup=False)
    return verdict(console, counts.bad, counts.rows, request.max_bad, what="are bad")


def checked(rows: Iterator[Row], home: Path, function: DecodeAll, how: Spread) -> Iterator[Row]:
    """The rows with the status of their part of the video; a reason from before stays.

    Rows that follow one another and are of one part are decoded once.
    """
    groups: collections.deque[list[Row]] = collections.deque()

    def sources() -> Iterator[Source]:
        for _, group in itertools.groupby(rows, _part):
            some = list(group)
            groups.append(some)
            yield source_of(some[0], home)

    for outcome in how(function, sources()):
        for row in groups.popleft():
            reason = outcome.reason or outcome.value
            yield row if row.status not in USABLE else replace(row, status=reason or OK)


def _part(row: Row) -> tuple[object, ...]:
    return row.path, row.member, row.start, row.end, row.status


def _write_list(file: Path, manifest: Path, home: Path) -> None:
    """Name and reason of each row that cannot be used, a line each; its paths are of ``home``."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as lines:
        for row in read_rows(manifest, beside=manifest):
            if row.status not in USABLE:
                whole = replace(row, path=os.fspath(home / row.path))
                lines.write(line_of(whole, "\t") + "\n")
    os.replace(temporary, file)
