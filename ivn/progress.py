"""Bars that show how far a command is, on a terminal and nowhere else."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")


def output(*, errors: bool = False) -> "Console":
    """Returns a console that prints lines as they are, on standard or on error output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, stderr=errors)


class Bar:
    """One line of :class:`Bars`."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def update(self, done: int, note: str = "", *, total: int | None = None) -> None:
        """Shows the count of items done, and a note behind the bar.

        Args:
            done: count of items.
            note: text behind the bar, such as "3 unusable".
            total: items in all, where that is known only by now.
        """
        self._progress.update(self._task, completed=done, note=note, total=total)

    def advance(self) -> None:
        """Shows one item more."""
        self._progress.advance(self._task)


class Bars:
    """Bars below one another; see :func:`bars`."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress

    def add(self, what: str = "", *, total: int | None, done: int = 0) -> Bar:
        """Returns a new bar.

        Args:
            what: name of the items, before the bar.
            total: items in all; None is unknown.
            done: items done before.
        """
        task = self._progress.add_task(what, total=total, completed=done, note="")
        return Bar(self._progress, task)


@contextmanager
def bars(console: "Console") -> Iterator[Bars]:
    """Draws bars on a console while the block runs; none where nobody sees them."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        BarColumn(None),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bars(progress)


def tracked(
    items: Iterable[Item], what: str, total: int, *, errors: bool = False
) -> Iterator[Item]:
    """Yields the items, with a bar of how many have been taken.

    Args:
        items: the items.
        what: name of the items, before the bar.
        total: count of items; no bar for none.
        errors: draw on the error output.
    """
    if not total:
        yield from items
        return
    with bars(output(errors=errors)) as shown:
        bar = shown.add(what, total=total)
        for item in items:
            yield item
            bar.advance()
