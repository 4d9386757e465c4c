"""What commands on many videos show: a bar of counts, and names that fit a line."""

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
    """A bar that is told the counts so far, and what row was made, if any: it names the bad ones.

    Args:
        console: to draw on.
        total: rows to come; None is unknown.
    """
    name = _Naming(console)
    with bars(console) as shown:
        bar = shown.add(total=total)

        def report(counts: Passed, row: Row | None) -> None:
            bar.update(counts.rows, f"{counts.bad} bad")
            if row is not None:
                name(row)

        yield report


def verdict(console: Console, bad: int, every: int, max_bad: float, *, what: str) -> int:
    """The exit code: 0, or 1 and a line where a larger share than ``max_bad`` is bad.

    Args:
        console: to print on.
        bad, every: counts.
        max_bad: largest share that is a success.
        what: is said of the bad ones.
    """
    if bad <= max_bad * every:
        return 0
    line = f"{bad} of {every} {what}, more than --max-bad {max_bad:g}"
    console.print(line, markup=False)
    return 1


def line_of(row: Row, between: str) -> str:
    """The name of a row's video and its status."""
    return f"{_name_of(row)}{between}{printable(row.status)}"


def _name_of(row: Row) -> str:
    return printable(f"{row.path}, member {row.member}" if row.member else row.path)


def _choice(row: Row) -> Iterator[str]:
    if row.streams > 1:
        size = f"{row.width} x {row.height}"
        yield f"{row.streams} video streams, of which stream {row.stream} ({size}) is taken"


def _jumps(row: Row) -> Iterator[str]:
    if row.restarts > 0:
        often = "once" if row.restarts == 1 else f"{row.restarts} times"
        yield f"its clock jumps back {often}: what follows is taken to go on in time"


def printable(text: str) -> str:
    """The text in one line, whatever it holds: as Python would write it where it must."""
    return text if text.isprintable() else repr(text)


class _Naming:
    """Names rows that there is something to say of, each file once where its rows follow
    one another.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ""

    def __call__(self, row: Row) -> None:
        """Print the row's line, if there is something to say that was not said of the last one."""
        line = line_of(row, ": ")
        if row.status in USABLE:
            remarks = [*_choice(row), *_jumps(row)]
            line = f"{_name_of(row)}: {'; '.join(remarks)}" if remarks else ""
        if line and line != self._last:
            self._console.print(line, markup=False)
        self._last = line
