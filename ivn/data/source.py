"""Which videos there are: a folder, a file or a list, read into sources."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ivn.errors import DataError

# fmt: off
VIDEO_SUFFIXES = (
    ".3g2", ".3gp", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2t",
    ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm",
    ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
)
# fmt: on
# Videos of one frame to every decoder.
IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")

# Real clips that come with the package, under free licences (see ATTRIBUTION.tsv there).
BUNDLED_CLIPS = Path(__file__).parents[1] / "assets" / "clips"

LIST_SUFFIXES = (".csv", ".list", ".lst", ".tsv", ".txt")
MANIFEST_SUFFIX = ".parquet"

# Left and right are what the labels of these sets are about: mirrored clips would be wrong.
NEVER_MIRRORED = frozenset({"ssv2"})


@dataclass(frozen=True)
class Source:
    """A video, or a part of one.

    Attributes:
        path: of the file.
        label: as written in the list, None where there is none; the same as ``labels["label"]``.
        start, end: seconds from the first frame; ``end`` -1 is the end of the file.
        flip: whether the clip may be mirrored.
        group: what no split may part, such as the film or the person; "" is the file itself.
        labels: name -> value, all of them.
        targets: kind -> path of a side file (depth, boxes, actions), frame by frame beside the
            video.
        member: name of the video inside the tar at ``path``; "" where ``path`` is the video.
        offset, size: where the member's bytes are: bytes from the start of the tar, and how many;
            size 0 where that is not known.
        decoder: the back end that fits the file; "" where that is decided when it is read.
    """

    path: str
    label: str | None = None
    start: float = 0.0
    end: float = -1.0
    flip: bool = True
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    targets: Mapping[str, str] = field(default_factory=dict, hash=False)
    member: str = ""
    offset: int = 0
    size: int = 0
    decoder: str = ""

    def __post_init__(self) -> None:
        named = self.labels.get("label")
        if self.label is None:
            object.__setattr__(self, "label", named)
        elif named is None:
            object.__setattr__(self, "labels", {"label": self.label, **self.labels})
        elif named != self.label:
            raise ValueError(f"{self.path}: label {self.label!r}, but labels[label] is {named!r}")


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_url(name: str) -> bool:
    """Whether a name that should be a path is a URL, or what pathlib leaves of one."""
    return bool(_URL.match(name)) and not os.path.exists(name)


def not_there(name: str) -> str:
    """Why there is no file or folder of this name."""
    if is_url(name):
        return "a URL, expected a path: fetch it first"
    there = os.path.exists(name)
    return "neither a file nor a folder" if there else "no such file or folder"


def list_clips(path: str | os.PathLike[str]) -> Sequence[Source]:
    """The videos at ``path``: a folder (with all below it, sorted), a video, a list or a manifest.

    An image is a video of one frame. Of a folder that holds videos they alone are taken, so that
    their posters and thumbnails are not; a folder of images is one of its own.

    A list has one video a line, paths absolute or relative to the list's folder, fields parted
    by spaces, or as RFC 4180 has them by commas, tabs, semicolons or bars (then paths with spaces
    and quotes are fine, and a header may name the columns path, label, start, end, group; any
    other column is a label of its name). Without a header, all lines together say what parts
    the fields: that by which most paths are names of videos. The line of the release is
    ``source path total_time start end label``. For manifests see :mod:`ivn.data.manifest`.

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
        from ivn.data.manifest import read_manifest

        return read_manifest(place)
    raise DataError(
        f"{place}: expected a folder, a video ({' '.join(VIDEO_SUFFIXES)}), "
        f"a list ({' '.join(LIST_SUFFIXES)}) or a manifest ({MANIFEST_SUFFIX})"
    )


def left_out(sources: Sequence[Source]) -> str:
    """A line on the rows of a manifest that are not among the sources; "" where there are none."""
    from ivn.data.table import SourceTable

    if not isinstance(sources, SourceTable) or not sources.left_out:
        return ""
    rows = len(sources) + sources.left_out
    return f"{sources.left_out} rows of {rows} left out: their status says why"


def fingerprint(sources: Iterable[Source], *, base: str = "", instead: str = "") -> str:
    """SHA-256 of the sources in order, hexadecimal; what is in the files plays no part.

    Nor do groups, further labels and targets, which pretraining does not look at. Nor does where in
    a tar a member's bytes are, and what decodes them. Where the files lie does:
    :mod:`ivn.data.identity` leaves that out.

    Args:
        sources: the clips.
        base: folder, with a slash at its end, of the paths that are taken for others.
        instead: what stands in its place.
    """
    from ivn.data.identity import described

    digest = hashlib.sha256()
    for path, label, start, end, flip, member, _ in described(sources):
        if base and path.startswith(base):
            path = instead + path[len(base) :]
        seen = path, label, start, end, flip
        digest.update(repr((*seen, member) if member else seen).encode())
    return digest.hexdigest()


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


def _read_list(place: Path) -> list[Source]:
    from ivn.data.lists import FORMS, read_list

    sources = []
    for number, row in read_list(place):
        if isinstance(row, str):
            raise DataError(f"{place}, line {number}: {row}")
        path = os.fspath(place.parent / row.path)
        sources.append(
            Source(
                path,
                start=row.start,
                end=row.end,
                flip=row.flip,
                group=row.group,
                labels=row.labels,
            )
        )
    if not sources:
        raise DataError(f"{place}: no usable line, expected {FORMS}")
    check_some_exist(place, sources)
    return sources


def check_some_exist(place: Path, sources: Sequence[Source]) -> None:
    """Raise DataError where not one of ten paths of the list at ``place`` exists.

    A few suffice: a wrong folder makes all paths wrong, and a long list would take minutes.
    """
    some = sources[:: max(1, len(sources) // 10)]
    if not any(os.path.exists(source.path) for source in some):
        raise DataError(
            f"{place}: none of {len(some)} paths tried exists, {some[0].path} for one; "
            "paths are taken relative to the list's folder"
        )
