"""``ivn data index``: a manifest, with a bar, a line for each unusable file, and a summary."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ivn.corpus.cluster import runner
from ivn.corpus.index.found import counted, found_at, found_by
from ivn.corpus.index.items import Items, Remark, UnusableItem
from ivn.corpus.index.options import Index
from ivn.corpus.index.probing import FactsReader, probed
from ivn.corpus.progress import printable, verdict, watching
from ivn.corpus.resumable import Passed, Work, pass_through
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError
from ivn.progress import output


def index(request: Index) -> int:
    """Writes the manifest; returns 0, or 1 if a larger share of items is unusable than allowed.

    Raises:
        DataError: there is nothing to index, or the manifest cannot be written.
    """
    place = Path(request.out)
    settings = {
        "command": "index",
        "probe": request.probe,
        "hash": request.hash,
        "format": request.format,
        "seconds": request.seconds,
    }
    console = output()
    without_row: list[UnusableItem] = []
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(printable(line), markup=False)

    def rows() -> Iterator[Row]:
        for found in _found(request, place, say):
            if isinstance(found, Row):
                yield found
            elif isinstance(found, Remark):
                say(f"{found.name}: {found.text}")
            else:
                without_row.append(found)
                console.print(f"{printable(found.name)}: {found.reason}", markup=False)

    with watching(console, total=_total(request)) as bar:

        def report(counts: Passed, row: Row | None) -> None:
            more = len(without_row)
            bar(replace(counts, rows=counts.rows + more, unusable=counts.unusable + more), row)

        counts = pass_through(place, rows(), _work(request), settings=settings, report=report)
        report(counts, None)  # with unusable items behind the last row
    bad, every = counts.unusable + len(without_row), counts.rows + len(without_row)
    console.print(
        f"{counts.rows} rows{counts.pace(time.monotonic() - began)}; "
        f"{counts.unusable} of them unusable, "
        f"and {len(without_row)} unusable items without a row",
        markup=False,
    )
    console.print(place.as_posix(), markup=False)
    return verdict(console, bad, every, request.max_bad, what="are unusable")


def _total(request: Index) -> int | None:
    """Returns the count of rows and unusable items to come; None if a place does not say it."""
    totals = [None if request.format else counted(place) for place in request.places]
    known = [total for total in totals if total is not None]
    return sum(known) if len(known) == len(totals) else None


def _work(request: Index) -> Work:
    """Returns the work on the rows."""
    if not request.probe and not request.hash:
        return lambda rows: rows
    look = FactsReader(request.probe, request.hash)
    home = Path(request.out).parent.absolute()
    return lambda rows: probed(rows, home, look, runner(request))


def _found(request: Index, manifest: Path, say: Callable[[str], None]) -> Items:
    if request.format:
        yield from found_by(request.format, request.places, request.videos, manifest, say)
        return
    for place in request.places:
        empty = True
        for found in found_at(place, manifest):
            empty = empty and isinstance(found, Remark)
            yield found
        if empty:
            raise DataError(f"{place}: nothing to index in it")
