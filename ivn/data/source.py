"""Which videos there are: a folder, a file or a list, read into sources."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

# fmt: off
VIDEO_SUFFIXES = (
    ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on
# Real clips that come with the package, under free licences (see ATTRIBUTION.tsv there).
BUNDLED_CLIPS = Path(__file__).parents[1] / "assets" / "clips"

LIST_SUFFIXES = (".csv", ".list", ".lst", ".tsv", ".txt")
MANIFEST_SUFFIX = ".parquet"

# Left and right are what the labels of these sets are about: mirrored clips would be wrong.
NEVER_MIRRORED = frozenset({"ssv2"})
_COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "file_name"),
    "label": ("label", "class", "label_id", "target"),
    "group": ("group",),
    "start": ("start", "start_time", "time_start"),
    "end": ("end", "end_time", "time_end"),
}
_FORMS = "'path', 'path label', 'path 0 -1', 'path,label,start,end' or the release's six fields"


class DataError(ValueError):
    """The data as a whole cannot be used; the message says what to do."""


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


def list_clips(path: str | os.PathLike[str]) -> Sequence[Source]:
    """The videos at ``path``: a folder (with all below it, sorted), a video, a list or a manifest.

    A list has one video a line, paths absolute or relative to the list's folder, fields parted
    by spaces, or by commas or tabs where the first line has one (then paths with spaces and
    quotes are fine, and a header may name the columns path, label, start, end, group; any other
    column is a label of its name). The line of the release is
    ``source path total_time start end label``. For manifests see :mod:`ivn.data.manifest`.

    Raises:
        DataError: there is nothing at ``path``, or nothing usable.
    """
    place = Path(path)
    if place.is_dir():
        found = [Source(os.fspath(file)) for file in _videos_below(place)]
        if not found:
            raise DataError(f"{place}: no videos in this folder ({' '.join(VIDEO_SUFFIXES)})")
        return found
    if not place.is_file():
        raise DataError(f"{place}: no such file or folder")
    if place.suffix.lower() in VIDEO_SUFFIXES:
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


def fingerprint(sources: Iterable[Source]) -> str:
    """SHA-256 of the sources in order, hexadecimal; what is in the files plays no part.

    Nor do groups, further labels and targets, which pretraining does not look at: a run goes on
    when they have been added. Nor does where in a tar a member's bytes are, and what decodes them.
    """
    from ivn.data.table import SourceTable

    if isinstance(sources, SourceTable):
        return sources.fingerprint()
    digest = hashlib.sha256()
    for s in sources:
        seen = identity(s.path, s.label, s.start, s.end, s.flip, s.member)
        digest.update(repr(seen).encode())
    return digest.hexdigest()


def identity(
    path: str, label: str | None, start: float, end: float, flip: bool, member: str
) -> tuple[object, ...]:
    """What pretraining sees of a source; the parts of a fingerprint."""
    seen = path, label, start, end, flip
    return (*seen, member) if member else seen


def _videos_below(folder: Path) -> list[Path]:
    found, seen = [], set()
    for where, folders, files in os.walk(folder, followlinks=True):
        # Links may lead back up.
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [
            Path(where, file)
            for file in files
            if not file.startswith(".") and Path(file).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(found)


def _read_list(place: Path) -> list[Source]:
    try:
        text = place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: expected a list as UTF-8 text") from error
    sources = []
    for number, parsed in _parsed_lines(text):
        if isinstance(parsed, str):
            raise DataError(f"{place}, line {number}: {parsed}")
        sources.append(replace(parsed, path=os.fspath(place.parent / parsed.path)))
    if not sources:
        raise DataError(f"{place}: no usable line, expected {_FORMS}")
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


def _parsed_lines(text: str) -> Iterator[tuple[int, Source | str]]:
    """Line numbers with what they say, or with what is wrong with them."""
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    first = lines[0][1] if lines else ""
    delimiter = next((mark for mark in "\t," if mark in first), None)
    header: list[str] | None = None
    for number, line in lines:
        fields = line.split() if delimiter is None else _split(line, delimiter)
        if line is first and (names := _header(fields)):
            header = names
        elif header is not None:
            yield number, _from_columns(dict(zip(header, fields, strict=False)))
        elif delimiter is None:
            yield number, _from_words(fields)
        else:
            names = ["path", "label", "start", "end"]
            odd = len(fields) not in (1, 2, 4)
            yield (
                number,
                (
                    f"{len(fields)} fields, expected {_FORMS}"
                    if odd
                    else _from_columns(dict(zip(names, fields, strict=False)))
                ),
            )


def _split(line: str, delimiter: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]


def _header(fields: list[str]) -> list[str] | None:
    """Our names of the columns, where the fields are a header with a path among them."""
    ours = {spelling: name for name, spellings in _COLUMNS.items() for spelling in spellings}
    names = [ours.get(field.lower(), field) for field in fields]
    for name in _COLUMNS:
        places = [place for place, one in enumerate(names) if one == name]
        exact = [place for place in places if fields[place].lower() == name]
        # Ours by its own spelling, else by the last of others; what is left is a column of its own.
        for place in places:
            if place != (exact or places)[-1]:
                names[place] = fields[place]
    return names if "path" in names else None


def _from_columns(row: dict[str, str]) -> Source | str:
    path = row.get("path", "")
    if not path:
        return "no path"
    times = _numbers([row.get("start") or "0", row.get("end") or "-1"])
    if times is None:
        return f"start {row.get('start')!r}, end {row.get('end')!r}: expected seconds"
    source = _windowed(path, row.get("label") or None, times[0], times[1])
    if isinstance(source, str):
        return source
    further = {
        name: value for name, value in row.items() if name and value and name not in _COLUMNS
    }
    return replace(source, group=row.get("group", ""), labels={**source.labels, **further})


def _from_words(words: list[str]) -> Source | str:
    """Of a line parted by spaces; a path with spaces is known by its suffix."""
    times = _numbers(words[-4:-1]) if len(words) >= 6 and not _is_video(words[:1]) else None
    if times is not None:
        path, mirror = " ".join(words[1:-4]), words[0] not in NEVER_MIRRORED
        return _windowed(path, words[-1], times[1], times[2], mirror)
    if len(words) == 1 or _is_video(words):
        return Source(" ".join(words))
    if len(words) >= 3 and words[-2:] == ["0", "-1"]:
        return Source(" ".join(words[:-2]))
    if len(words) == 2 or _is_video(words[:-1]):
        return Source(" ".join(words[:-1]), words[-1])
    return f"{len(words)} fields, expected {_FORMS}"


def _windowed(
    path: str, label: str | None, start: float, end: float, flip: bool = True
) -> Source | str:
    if start < 0 or end < 0:
        return Source(path, label, max(start, 0.0), -1.0 if end < 0 else end, flip)
    if end <= start:
        return f"starts at {start} s and ends at {end} s"
    return Source(path, label, start, end, flip)


def _numbers(fields: list[str]) -> list[float] | None:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return None


def _is_video(words: list[str]) -> bool:
    return Path(" ".join(words)).suffix.lower() in VIDEO_SUFFIXES
