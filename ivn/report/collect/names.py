"""Makes short names of files and folders that tell them apart."""

from collections.abc import Sequence
from pathlib import Path


def short_names(paths: Sequence[Path], ends: Sequence[str] = ()) -> list[str]:
    """Returns the names of files, with as much of their paths as makes different ones differ.

    Args:
        paths: paths of the files; one that comes twice has the same name twice.
        ends: endings of the names, which may tell files apart, too.
    """
    after = ends or [""] * len(paths)
    parts = [path.absolute().parts for path in paths]
    different = len(set(zip(parts, after, strict=True)))
    names: list[str] = []
    for depth in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(part[-depth:]) + end for part, end in zip(parts, after, strict=True)]
        if len(set(names)) == different:
            break
    return names


def run_names(paths: Sequence[Path]) -> list[str]:
    """Returns a name for each run, all different; a folder that comes twice is numbered."""
    names = short_names(paths)
    return names if len(set(names)) == len(names) else [f"{n} #{i}" for i, n in enumerate(names, 1)]
