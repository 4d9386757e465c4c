"""Rows of the videos at a place, one after another, and reasons for what cannot be a row."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ivn.corpus.importers import IMPORTERS, Videos
from ivn.corpus.importers.auto import recognised
from ivn.corpus.index.items import Items, UnusableItem
from ivn.corpus.index.tars import read_tar
from ivn.data.manifest.listing import LIST_SUFFIXES, files_below
from ivn.data.manifest.lists import count_lines, read_list
from ivn.data.manifest.parquet import MANIFEST_SUFFIX, Row, count_rows, read_rows, relative_to
from ivn.errors import DataError, RequestError
from ivn.media.source import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_url, not_there
from ivn.media.tar_members import COMPRESSED

_TARS = (".tar",)
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")


def found_at(place: str, manifest: Path) -> Items:
    """Yields the items of a folder with all below it, a video, an image, a list, tar or manifest.

    Paths below the manifest's folder are relative to it, so that both can be moved together;
    others are absolute.

    Args:
        place: path as the user gave it.
        manifest: path of the manifest to come; nothing needs to be there.

    Raises:
        DataError: there is nothing at ``place``, or nothing that videos can be found in.
    """
    kind, path = _kind(place), Path(place).absolute()
    # What a list says is relative to its own folder; a manifest's rows come as they are needed.
    base = "" if kind is _manifest else _slashed(path.parent)
    home = _slashed(manifest.parent.absolute())
    for row in read_rows(path, beside=manifest) if kind is _manifest else kind(path):
        yield _placed(row, base, home) if isinstance(row, Row) else row


def counted(place: str) -> int | None:
    """Returns the count of rows and lines at a place; None if counting takes long.

    Raises:
        DataError: there is nothing at ``place``, or nothing that videos can be found in.
    """
    kind = _kind(place)
    if kind is _video:
        return 1
    if kind is _list:
        return count_lines(Path(place))
    return count_rows(Path(place)) if kind is _manifest else None


def _kind(place: str) -> Callable[[Path], Items]:
    name = place.lower()
    if os.path.isdir(place):
        return _folder
    if not os.path.isfile(place):
        raise DataError(f"{place}: {not_there(place)}")
    for suffixes, kind in (
        *_IN_FOLDERS,
        (IMAGE_SUFFIXES, _video),
        (LIST_SUFFIXES, _list),
        (MANIFEST_SUFFIX, _manifest),
    ):
        if name.endswith(suffixes):
            return kind
    raise DataError(
        f"{place}: expected a folder, a video ({' '.join(VIDEO_SUFFIXES)}), an image "
        f"({' '.join(IMAGE_SUFFIXES)}), a tar, a list ({' '.join(LIST_SUFFIXES)}) or a manifest "
        f"({MANIFEST_SUFFIX})"
    )


def _placed(row: Row, base: str, home: str) -> Row | UnusableItem:
    """Returns the row with its path as the manifest needs it, or why it cannot be in one."""
    words = [row.path, row.member, row.group, row.source, row.audio, *row.captions]
    for pairs in (row.labels, row.targets, row.extra):
        words += [*pairs, *pairs.values()]
    text = "".join(words)
    if not text.isascii() and not _is_unicode(text):
        return UnusableItem(row.path, "a name or text that is not UTF-8: rename it")
    if "\0" in text:
        return UnusableItem(row.path, "a name or text with a zero byte")
    whole = base + row.path if base and not row.path.startswith("/") else row.path
    path = relative_to(whole, home) if whole.startswith("/") else whole
    return row if path == row.path else replace(row, path=path)


def _slashed(folder: Path) -> str:
    return os.path.join(folder, "")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _folder(folder: Path) -> Items:
    """Yields videos and tars below a folder, links followed, in the order of names; or its images.

    As in :func:`ivn.data.manifest.listing.list_clips`, images beside videos are their posters.
    """
    unread: list[UnusableItem] = []
    empty = True

    def unreadable(error: OSError) -> None:
        unread.append(
            UnusableItem(os.fsdecode(error.filename), f"cannot be read ({error.strerror})")
        )

    for name in files_below(os.fspath(folder), unreadable):
        if kind := next((kind for ends, kind in _IN_FOLDERS if name.lower().endswith(ends)), None):
            empty = False
            yield from kind(Path(name))
    if empty:
        for name in files_below(os.fspath(folder), lambda _: None):
            if name.lower().endswith(IMAGE_SUFFIXES):
                yield from _video(Path(name))
    yield from unread


def _video(file: Path) -> Items:
    yield Row(os.fspath(file))


def _list(file: Path) -> Items:
    for number, row in read_list(file):
        if isinstance(row, str):
            yield UnusableItem(f"{file}, line {number}", row)
        elif is_url(row.path):
            yield UnusableItem(f"{file}, line {number}", f"{row.path} is a URL, expected a path")
        else:
            yield row


def _packed(file: Path) -> Items:
    yield UnusableItem(os.fspath(file), COMPRESSED)


def _manifest(file: Path) -> Items:
    yield from read_rows(file)


# Kinds of files that are searched for in a folder, by the end of their names.
_IN_FOLDERS = ((_PACKED, _packed), (_TARS, read_tar), (VIDEO_SUFFIXES, _video))


def found_by(
    name: str, places: Sequence[str], videos: str, manifest: Path, say: Callable[[str], None]
) -> Items:
    """Yields the rows that an importer reads from published annotations.

    Rows whose video is not there are counted and no error: sets of YouTube's lose some every year.

    Args:
        name: name of the importer, see :mod:`ivn.corpus.importers`; auto recognises the files.
        places: annotation files.
        videos: folder of the videos.
        manifest: path of the manifest to come.
        say: called at the end with a line for rows without a video, and one for impossible times.

    Raises:
        DataError: there is no such importer, or the files are not what it reads.
    """
    files = [Path(place) for place in places]
    if name == "auto":
        name = recognised(files)
    if name not in IMPORTERS:
        raise RequestError(
            f"--format {name}: expected auto or one of {', '.join(sorted(IMPORTERS))}"
        )
    looked = Videos(videos)
    home = _slashed(manifest.parent.absolute())
    for row in IMPORTERS[name].read(files, looked):
        yield _placed(row, "", home)
    if looked.missing.count:
        say(f"rows without a video in {videos}: {looked.missing}")
    if looked.unusable.count:
        say(f"rows that end before they start: {looked.unusable}")
