"""Bars that show how far a probe is, on a terminal and nowhere else."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def shown(items: Iterable[T], what: str, total: int) -> Iterable[T]:
    """The same items, with a bar on the error output, where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal or not total
    return track(items, what, total=total, console=console, disable=hidden)
