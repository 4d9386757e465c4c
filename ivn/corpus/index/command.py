"""``ivn data index``: a manifest made with a bar to look at, bad files named, a line at the end."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ivn.corpus.cluster import spread
from ivn.corpus.index.found import counted, found_at, found_by
from ivn.corpus.index.options import Index
from ivn.corpus.index.probing import probed
from ivn.corpus.index.refused import Found, Refused, Remark
from ivn.corpus.progress import printable, verdict, watching
from ivn.corpus.resumable import Passed, Work, pass_through
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError
from ivn.processes import cores


def index(options: Index) -> int:
    """Write the manifest; gives 0, or 1 where the share of bad items is larger than allowed.

    Raises:
        DataError: there is nothing to index, or the manifest cannot be written.
    """
    place = Path(options.out)
    settings = {
        "command": "index",
        "probe": options.probe,
        "hash": options.hash,
        "format": options.format,
        "seconds": options.seconds,
    }
    console = Console(highlight=False, soft_wrap=True)
    refused: list[Refused] = []
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(printable(line), markup=False)

    def rows() -> Iterator[Row]:
        for found in _found(options, place, say):
            if isinstance(found, Row):
                yield found
            elif isinstance(found, Remark):
                say(f"{found.name}: {found.text}")
            else:
                refused.append(found)
                console.print(f"{printable(found.name)}: {found.reason}", markup=False)

    with watching(console, total=_total(options)) as bar:

        def report(counts: Passed, row: Row | None) -> None:
            more = len(refused)
            bar(replace(counts, rows=counts.rows + more, bad=counts.bad + more), row)

        counts = pass_through(place, rows(), _work(options), settings=settings, report=report)
        report(counts, None)  # with what was refused behind the last row
    seconds = time.monotonic() - began
    bad, every = counts.bad + len(refused), counts.rows + len(refused)
    earlier = f", {counts.earlier} from before" if counts.earlier else ""
    rate = f", {(counts.rows - counts.earlier) / seconds:.1f} rows/s"
    console.print(
        f"{counts.rows} rows{earlier}{rate}; {counts.bad} of them cannot be used, "
        f"{len(refused)} items are no rows",
        markup=False,
    )
    console.print(place.as_posix(), markup=False)
    return verdict(console, bad, every, options.max_bad, what="are bad")


def _total(options: Index) -> int | None:
    """Rows and refused items to come, where all places say it; None is unknown."""
    totals = [None if options.format else counted(place) for place in options.places]
    known = [total for total in totals if total is not None]
    return sum(known) if len(known) == len(totals) else None


def _work(options: Index) -> Work:
    """What becomes of the rows."""
    if not options.probe and not options.hash:
        return lambda rows: rows
    from ivn.corpus.index.probing import Look

    look = Look(options.probe, options.hash)
    how = spread(workers=options.workers or cores(), seconds=options.seconds, ray=options.ray)
    home = Path(options.out).parent.absolute()
    return lambda rows: probed(rows, home, look, how)


def _found(options: Index, manifest: Path, say: Callable[[str], None]) -> Found:
    if options.format:
        yield from found_by(options.format, options.places, options.videos, manifest, say)
        return
    for place in options.places:
        empty = True
        for found in found_at(place, manifest):
            empty = empty and isinstance(found, Remark)
            yield found
        if empty:
            raise DataError(f"{place}: nothing to index in it")
