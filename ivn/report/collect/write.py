"""Writes the page of some runs, and replaces nothing but an earlier page."""

from pathlib import Path

from ivn.durable import write_text
from ivn.report.options import Report
from ivn.report.page.content import Content
from ivn.report.page.page import is_ours, render
from ivn.train import folder

from .collect import gather

NAME = "report.html"


def report(options: Report) -> int:
    """Makes the page of some runs.

    Returns:
        The exit code: 0.

    Raises:
        FileNotFoundError: a folder holds no run.
        FileExistsError: the page would replace something else.
        OSError, DataError: The page cannot be written, or the clips of ``--clips`` cannot be read.
    """
    paths = list(dict.fromkeys(map(Path, options.runs)))
    for path in paths:
        folder.check_run(path)
    place = Path(options.out) if options.out else paths[0] / NAME
    check_place(place, named=bool(options.out))
    content = gather(paths, clips=options.clips)
    write_text(place, render(content), overwrite=True)
    for line in lacks(content):
        print(f"missing: {line}")
    print(f"report: {place}", flush=True)
    return 0


def check_place(place: Path, *, named: bool) -> None:
    """Checks that a page may be written at ``place``.

    Raises:
        FileExistsError: A file is there, and the user named it or it is no page of ivn.
        FileNotFoundError: The folder does not exist.
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
    """Returns a line for each thing that the page lacks."""
    own = [(f"{run.name}: ", one) for run in content.runs for one in run.missing]
    every = [*own, *(("", one) for one in content.missing)]
    return [f"{prefix}{one.what}: {one.why}" for prefix, one in every]
