"""Writes the page of some runs, and nothing over what is not such a page."""

from collections.abc import Sequence
from pathlib import Path

from ivn.durable import write_text
from ivn.report.page.content import Content
from ivn.report.page.page import is_ours, render
from ivn.train import folder

from .collect import gather

NAME = "report.html"


def report(paths: Sequence[Path], *, out: str = "", clips: str = "") -> int:
    """Makes the page of some runs.

    Args:
        paths: the runs' folders, at least one.
        out: a new file; "" is ``report.html`` in the first run's folder, where an earlier page
            of ours is replaced.
        clips: a folder or list of clips to draw; "" takes the runs' own.

    Returns:
        The exit code: 0.

    Raises:
        FileNotFoundError: a folder holds no run.
        FileExistsError: the page would replace something else.
        OSError, DataError: what else is wrong, in a line.
    """
    paths = list(dict.fromkeys(paths))
    for path in paths:
        if not (path / folder.CONFIG).is_file():
            raise FileNotFoundError(f"{path} holds no run: expected {folder.CONFIG} in it")
    place = Path(out) if out else paths[0] / NAME
    check_place(place, named=bool(out))
    content = gather(paths, clips=clips)
    write_text(place, render(content), overwrite=True)
    for line in lacks(content):
        print(f"missing: {line}")
    print(f"report: {place}", flush=True)
    return 0


def check_place(place: Path, *, named: bool) -> None:
    """Sees that a page may be written at ``place``.

    Raises:
        FileExistsError: what is there was named by the user, or is no page of ours.
        FileNotFoundError: its folder is not there.
    """
    if place.exists() or place.is_symlink():
        if named:
            raise FileExistsError(f"{place} exists: choose another file with -o, or remove it")
        if not place.is_file() or not is_ours(place):
            raise FileExistsError(
                f"{place} is no page of ivn report and stays as it is: write another with "
                "-o FILE.html"
            )
    if not place.parent.is_dir():
        raise FileNotFoundError(f"{place.parent}: no such folder, expected one for {place.name}")


def lacks(content: Content) -> list[str]:
    """What the page lacks, a line each."""
    own = [(f"{run.name}: ", one) for run in content.runs for one in run.missing]
    every = [*own, *(("", one) for one in content.missing)]
    return [f"{prefix}{one.what}: {one.why}" for prefix, one in every]
