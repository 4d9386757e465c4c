"""What commands on many videos show: a bar of counts, and names that fit a line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ivn.data.passing import Passed


@contextmanager
def counting(console: Console, *, total: int | None) -> Iterator[Callable[[Passed], None]]:
    """A bar that is told the counts so far; none where nobody sees it.

    Args:
        console: to draw on.
        total: rows to come; None is unknown.
    """
    columns = (
        MofNCompleteColumn(),
        BarColumn(None),
        TextColumn("{task.fields[bad]} bad"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, bad=0)
        yield lambda counts: bar.update(task, completed=counts.rows, bad=counts.bad)


def printable(text: str) -> str:
    """The text in one line, whatever it holds: as Python would write it where it must."""
    return text if text.isprintable() else repr(text)
