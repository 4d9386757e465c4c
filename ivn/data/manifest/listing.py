"""Lists the sources of a folder, a video, a list or a manifest."""

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
    """Returns the sources of a folder (with all below it, sorted), a video, a list or a manifest.

    An image is a video of one frame. In a folder with videos, images are ignored, since they may be
    posters or thumbnails.

    A list has one source per line, with a path that is absolute or relative to the list's folder.
    Fields are separated by spaces, or as in RFC 4180 by commas, tabs, semicolons or bars: then
    fields may be quoted, and a header may name the columns path, label, start, end, group; any
    other column is a label of its name. Without a header the delimiter is that by which most paths
    are names of videos. A line of the release is ``source path total_time start end label``. For
    manifests see :mod:`ivn.data.manifest.parquet`.

    Raises:
        DataError: There is nothing at ``path``, or no source in it.
    """
    name, path = os.fspath(path), Path(path)
    if path.is_dir():
        files = [Path(file) for file in files_below(os.fspath(path), unreadable=lambda _: None)]
        for suffixes in (VIDEO_SUFFIXES, IMAGE_SUFFIXES):
            sources = [Source(str(file)) for file in files if file.suffix.lower() in suffixes]
            if sources:
                return sources
        raise DataError(f"{path}: no videos in this folder ({' '.join(VIDEO_SUFFIXES)})")
    if not path.is_file():
        raise DataError(f"{name}: {not_there(name)}")
    if path.suffix.lower() in VIDEO_SUFFIXES + IMAGE_SUFFIXES:
        return [Source(os.fspath(path))]
    if path.suffix.lower() in LIST_SUFFIXES:
        return _read_list(path)
    if path.suffix.lower() == MANIFEST_SUFFIX:
        return read_manifest(path)
    raise DataError(
        f"{path}: expected a folder, a video ({' '.join(VIDEO_SUFFIXES)}), "
        f"a list ({' '.join(LIST_SUFFIXES)}) or a manifest ({MANIFEST_SUFFIX})"
    )


def unusable_rows(sources: Sequence[Source]) -> str:
    """Returns a line with the number of a manifest's unusable rows; "" where there are none."""
    if not isinstance(sources, SourceTable) or not sources.unusable:
        return ""
    rows = len(sources) + sources.unusable
    return f"{sources.unusable} of {rows} rows are unusable: their status says why"


def _read_list(file: Path) -> list[Source]:
    sources = []
    for number, row in read_list(file):
        if isinstance(row, str):
            raise DataError(f"{file}, line {number}: {row}")
        source = row.as_source(file.parent)
        sources.append(replace(source, flip=row.flip, group=row.group, labels=row.labels))
    if not sources:
        raise DataError(f"{file}: no usable line, expected {FORMS}")
    check_some_exist(file, sources)
    return sources


def files_below(folder: str, unreadable: Callable[[OSError], None]) -> Iterator[str]:
    """Yields all files below a folder, through links, sorted by the parts of their paths.

    Hidden files and folders, whose names begin with a dot, such as ``.Trash-1000``, are ignored,
    except for ``folder`` itself.

    Args:
        folder: path of the folder.
        unreadable: function that is called with the error of each folder that cannot be read.
    """
    seen: set[str] = set()
    # The entries that remain in each folder from the first down to the current, in reverse order.
    remaining = [[(folder, True)]]
    while remaining:
        if not remaining[-1]:
            remaining.pop()
            continue
        path, is_folder = remaining[-1].pop()
        if not is_folder:
            yield path
            continue
        # Links may lead back to a folder above.
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(path) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
            visible.sort(key=lambda entry: entry.name, reverse=True)
            remaining.append([(entry.path, entry.is_dir()) for entry in visible])
        except OSError as error:
            unreadable(error)
