"""``ivn data check``: a manifest with each video's status, and a list of the unusable ones."""

import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ivn.corpus.by_source import by_source
from ivn.corpus.check.decoding import check_one
from ivn.corpus.check.options import Check
from ivn.corpus.cluster import Runner, runner
from ivn.corpus.pool import Outcome
from ivn.corpus.progress import line_of, verdict, watching
from ivn.corpus.resumable import pass_through
from ivn.data.manifest.parquet import Row, count_rows, manifest_at, read_rows
from ivn.data.manifest.table import OK, USABLE
from ivn.durable import check_absent, new_file, partial
from ivn.errors import DataError
from ivn.media.source import Source
from ivn.progress import output


def check(request: Check) -> int:
    """Writes the manifest and the list; returns 0, or 1 if more rows are unusable than allowed.

    Raises:
        DataError: the manifest cannot be read, or the new one cannot be written.
    """
    place, given = Path(request.out), manifest_at(request.manifest)
    bad_list = place.with_suffix(".bad.txt")
    # With a manifest begun beside it, it is of a call that was cut off at its very end.
    if not partial(place).exists():
        check_absent(bad_list)
    total = count_rows(given)
    if not total:
        raise DataError(f"{given}: a manifest without rows")
    home, console = place.parent.absolute(), output()
    decode_all = functools.partial(check_one, seconds=request.seconds)
    began = time.monotonic()
    with watching(console, total=total) as report:
        counts = pass_through(
            place,
            read_rows(given, beside=place),
            lambda rows: checked(rows, home, decode_all, runner(request)),
            settings={"command": "check", "seconds": request.seconds},
            report=report,
            finish=lambda whole: _write_list(bad_list, whole, home),
        )
    console.print(
        f"{counts.rows} rows checked{counts.pace(time.monotonic() - began)}; "
        f"{counts.unusable} unusable" + (f": {bad_list.as_posix()}" if counts.unusable else ""),
        markup=False,
    )
    console.print(place.as_posix(), markup=False)
    return verdict(console, counts.unusable, counts.rows, request.max_bad, what="are unusable")


def checked(
    rows: Iterator[Row], home: Path, function: Callable[[Source], str], run: Runner
) -> Iterator[Row]:
    """Yields the rows with the status of their window of the video; an earlier reason stays.

    Neighbouring rows of one window are decoded once.
    """

    def changed(row: Row, outcome: Outcome[Source, str]) -> Row:
        return replace(row, status=outcome.reason or outcome.value or OK)

    return by_source(rows, lambda row: row.as_source(home), function, run, changed)


def _write_list(file: Path, manifest: Path, home: Path) -> None:
    """Writes name and reason of each unusable row, a line each; paths are relative to ``home``."""
    # One that is there was written by a call that was cut off before the manifest had its name.
    with (
        new_file(file, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8") as lines,
    ):
        for row in read_rows(manifest, beside=manifest):
            if row.status not in USABLE:
                whole = replace(row, path=os.fspath(home / row.path))
                lines.write(line_of(whole, "\t") + "\n")
