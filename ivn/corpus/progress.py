"""Output of commands on many videos: a bar of counts, and lines about single videos."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from ivn.corpus.resumable import Passed
from ivn.data.manifest.parquet import Row
from ivn.data.manifest.table import USABLE
from ivn.progress import bars


@contextmanager
def watching(
    console: Console, *, total: int | None
) -> Iterator[Callable[[Passed, Row | None], None]]:
    """Gives a function that shows the counts so far, and names a row that is unusable or odd.

    Args:
        console: console to draw on.
        total: number of rows; None if unknown.
    """
    with bars(console) as shown:
        bar, last = shown.add(total=total), ""

        def report(counts: Passed, row: Row | None) -> None:
            nonlocal last
            bar.update(counts.rows, f"{counts.unusable} unusable")
            if row is None:
                return
            # Once for rows of one file in a row.
            line, before = _remarks_on(row), last
            last = line
            if line and line != before:
                console.print(line, markup=False)

        yield report


def verdict(console: Console, bad: int, every: int, max_bad: float, *, what: str) -> int:
    """Returns the exit code: 0, or 1 after a line if a larger share than ``max_bad`` is unusable.

    Args:
        console: console to print on.
        bad: count of the unusable.
        every: count of all.
        max_bad: largest share that is a success.
        what: predicate of the unusable ones in that line, such as "are unusable".
    """
    if bad <= max_bad * every:
        return 0
    line = f"{bad} of {every} {what}, more than --max-bad {max_bad:g}"
    console.print(line, markup=False)
    return 1


def line_of(row: Row, between: str) -> str:
    """Returns the name of a row's video and its status."""
    return f"{_name_of(row)}{between}{printable(row.status)}"


def _name_of(row: Row) -> str:
    return printable(f"{row.path}, member {row.member}" if row.member else row.path)


def _remarks_on(row: Row) -> str:
    """Returns a line about a row that is unusable or odd; "" about any other."""
    if row.status not in USABLE:
        return line_of(row, ": ")
    remarks = []
    if row.streams > 1:
        size = f"{row.width} x {row.height}"
        remarks.append(
            f"{row.streams} video streams, of which stream {row.stream} ({size}) is taken"
        )
    if row.restarts > 0:
        often = "once" if row.restarts == 1 else f"{row.restarts} times"
        remarks.append(f"its clock jumps back {often}: what follows is taken to go on in time")
    return f"{_name_of(row)}: {'; '.join(remarks)}" if remarks else ""


def printable(text: str) -> str:
    """Returns the text in one line; text that is not printable as Python writes it."""
    return text if text.isprintable() else repr(text)
