"""The clips that a name stands for: those of a folder, a video, a list or a manifest."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ivn.data.manifest.lists import FORMS, read_list
from ivn.data.manifest.parquet import MANIFEST_SUFFIX, check_some_exist, read_manifest
from ivn.data.manifest.table import SourceTable
from ivn.errors import DataError
from ivn.media.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, not_there

LIST_SUFFIXES = (".csv", ".list", ".lst", ".tsv", ".txt")


def list_clips(path: str | os.PathLike[str]) -> Sequence[Source]:
    """The videos at ``path``: a folder (with all below it, sorted), a video, a list or a manifest.

    An image is a video of one frame. Of a folder that holds videos they alone are taken, so that
    their posters and thumbnails are not; a folder of images is one of its own.

    A list has one video a line, paths absolute or relative to the list's folder, fields parted
    by spaces, or as RFC 4180 has them by commas, tabs, semicolons or bars (then paths with spaces
    and quotes are fine, and a header may name the columns path, label, start, end, group; any
    other column is a label of its name). Without a header, all lines together say what parts
    the fields: that by which most paths are names of videos. The line of the release is
    ``source path total_time start end label``. For manifests see :mod:`ivn.data.manifest.parquet`.

    Raises:
        DataError: there is nothing at ``path``, or nothing usable.
    """
    place = Path(path)
    if place.is_dir():
        files = files_below(os.fspath(place), unreadable=lambda _: None)
        paths = [Path(file) for file in files]
        for suffixes in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
            found = [Source(str(file)) for file in paths if file.suffix.lower() in suffixes]
            if found:
                return found
        raise DataError(f"{place}: no videos in this folder ({' '.join(VIDEO_SUFFIXES)})")
    if not place.is_file():
        raise DataError(f"{os.fspath(path)}: {not_there(os.fspath(path))}")
    if place.suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES:
        return [Source(os.fspath(place))]
    if place.suffix.lower() in LIST_SUFFIXES:
        return _read_list(place)
    if place.suffix.lower() == MANIFEST_SUFFIX:
        return read_manifest(place)
    raise DataError(
        f"{place}: expected a folder, a video ({' '.join(VIDEO_SUFFIXES)}), "
        f"a list ({' '.join(LIST_SUFFIXES)}) or a manifest ({MANIFEST_SUFFIX})"
    )


def left_out(sources: Sequence[Source]) -> str:
    """A line on the rows of a manifest that are not among the sources; "" where there are none."""
    if not isinstance(sources, SourceTable) or not sources.left_out:
        return ""
    rows = len(sources) + sources.left_out
    return f"{sources.left_out} rows of {rows} left out: their status says why"


def _read_list(place: Path) -> list[Source]:
    sources = []
    for number, row in read_list(place):
        if isinstance(row, str):
            raise DataError(f"{place}, line {number}: {row}")
        source = row.as_source(place.parent)
        sources.append(replace(source, flip=row.flip, group=row.group, labels=row.labels))
    if not sources:
        raise DataError(f"{place}: no usable line, expected {FORMS}")
    check_some_exist(place, sources)
    return sources


def files_below(folder: str, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    """All files below a folder, links followed, in the order of their parts.

    Hidden files are left out, and hidden folders with all below them: those whose name begins with
    a dot, such as ``.Trash-1000``. The folder itself may be one.

    ``unreadable`` is called for each folder that cannot be read.
    """
    seen: set[str] = set()
    # Of each folder on the way down, what is left of it, the next one last.
    left = [[(folder, True)]]
    while left:
        if not left[-1]:
            left.pop()
            continue
        path, is_folder = left[-1].pop()
        if not is_folder:
            yield path
            continue
        # Links may lead back up.
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(path) as entries:
                there = [entry for entry in entries if not entry.name.startswith(".")]
            there.sort(key=lambda entry: entry.name, reverse=True)
            left.append([(entry.path, entry.is_dir()) for entry in there])
        except OSError as error:
            unreadable(error)
