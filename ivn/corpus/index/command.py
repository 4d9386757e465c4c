"""``ivn data index``: a manifest made with a bar to look at, bad files named, a line at the end."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ivn.corpus.cluster import spread
from ivn.corpus.index.found import counted, found_at, found_by
from ivn.corpus.index.items import Items, Remark, UnusableItem
from ivn.corpus.index.probing import probed
from ivn.corpus.progress import printable, verdict, watching
from ivn.corpus.resumable import Passed, Work, pass_through
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError
from ivn.processes import cores
from ivn.progress import output


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        places: folders, videos, lists, tars, manifests; or the files of a format.
        out: a new manifest.
        form: of published annotations; "" where the places are found out by their names.
        videos: the folder of a format's videos.
        probe: read facts from packets.
        hashed: read the hash of all bytes.
        seconds: that a file may take.
        workers: processes; 0 means one for each core that this process may use.
        max_bad: largest share of bad items that is a success.
        ray: address of a cluster; "" stays on this machine.
    """

    places: Sequence[str]
    out: str
    form: str
    videos: str
    probe: bool
    hashed: bool
    seconds: float
    workers: int
    max_bad: float
    ray: str


def index(request: Request) -> int:
    """Write the manifest; gives 0, or 1 where the share of bad items is larger than allowed.

    Raises:
        DataError: there is nothing to index, or the manifest cannot be written.
    """
    place = Path(request.out)
    settings = {
        "command": "index",
        "probe": request.probe,
        "hash": request.hashed,
        "format": request.form,
        "seconds": request.seconds,
    }
    console = output()
    refused: list[UnusableItem] = []
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
                refused.append(found)
                console.print(f"{printable(found.name)}: {found.reason}", markup=False)

    with watching(console, total=_total(request)) as bar:

        def report(counts: Passed, row: Row | None) -> None:
            more = len(refused)
            bar(replace(counts, rows=counts.rows + more, unusable=counts.unusable + more), row)

        counts = pass_through(place, rows(), _work(request), settings=settings, report=report)
        report(counts, None)  # with what was refused behind the last row
    seconds = time.monotonic() - began
    bad, every = counts.unusable + len(refused), counts.rows + len(refused)
    earlier = f", {counts.earlier} from before" if counts.earlier else ""
    rate = f", {(counts.rows - counts.earlier) / seconds:.1f} rows/s"
    console.print(
        f"{counts.rows} rows{earlier}{rate}; {counts.unusable} of them cannot be used, "
        f"{len(refused)} items are no rows",
        markup=False,
    )
    console.print(place.as_posix(), markup=False)
    return verdict(console, bad, every, request.max_bad, what="are unusable")


def _total(request: Request) -> int | None:
    """Rows and refused items to come, where all places say it; None is unknown."""
    totals = [None if request.form else counted(place) for place in request.places]
    known = [total for total in totals if total is not None]
    return sum(known) if len(known) == len(totals) else None


def _work(request: Request) -> Work:
    """What becomes of the rows."""
    if not request.probe and not request.hashed:
        return lambda rows: rows
    from ivn.corpus.index.probing import FactsReader

    look = FactsReader(request.probe, request.hashed)
    how = spread(workers=request.workers or cores(), seconds=request.seconds, ray=request.ray)
    home = Path(request.out).parent.absolute()
    return lambda rows: probed(rows, home, look, how)


def _found(request: Request, manifest: Path, say: Callable[[str], None]) -> Items:
    if request.form:
        yield from found_by(request.form, request.places, request.videos, manifest, say)
        return
    for place in request.places:
        empty = True
        for found in found_at(place, manifest):
            empty = empty and isinstance(found, Remark)
            yield found
        if empty:
            raise DataError(f"{place}: nothing to index in it")
