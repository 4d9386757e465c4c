"""Progress bars of evaluations, on a terminal and nowhere else."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def shown(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """Returns the same items, with a progress bar if the error output is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal or not total
    return track(items, what, total=total, console=console, disable=hidden)
