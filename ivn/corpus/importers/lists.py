"""Lists of other programs: a path and a class a line, and MMAction2's annotation files.

``path 0 -1`` is a line of VideoMAE's pretraining, ``path label`` of V-JEPA, and ``source path
total_time start end label`` of InternVideo-Next's release. MMAction2 (tests/data/annotations on
GitHub) has ``path label`` with one or more labels, JSON of a path with its captions, and JSON
lists of ``filename`` with ``label`` by category (HVU). Paths are relative to the videos' folder or
absolute. A list that names folders of pictures is refused.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import WHOLE, times_of
from ivn.corpus.importers.text import (
    list_of,
    read_json,
    read_lines,
    read_named,
    read_records,
    text_of,
    whole_number,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.data.manifest.row import NEVER_MIRRORED
from ivn.errors import DataError
from ivn.media.source import VIDEO_SUFFIXES


@importer(
    "videomae",
    files="`path 0 -1`",
    row="a video",
    group="the video",
)
def read_videomae(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of ``path 0 -1``: whole videos without a label."""
    for place, line in chain.from_iterable(map(read_lines, files)):
        words = line.rsplit(maxsplit=2)
        if len(words) != 3 or words[1:] != ["0", "-1"]:
            raise place.wrong(f"{line!r}, expected a path, 0 and -1")
        if path := videos.at(words[0]):
            yield Row(path, labels=place.split)


@importer(
    "vjepa",
    files="`path label`",
    row="a video",
    labels="`label`",
    group="the video",
)
def read_vjepa(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of ``path label``, separated by a space."""
    for place, line in chain.from_iterable(map(read_lines, files)):
        words = line.rsplit(maxsplit=1)
        if len(words) != 2 or not _is_video(words[0]):
            raise place.wrong(f"{line!r}, expected the path of a video and a label")
        if path := videos.at(words[0]):
            yield Row(path, labels={"label": words[1], **place.split})


@importer(
    "internvideo",
    files="`source path total_time start end label`",
    row="a video or part of one",
    labels="`label`; the source",
    group="the video",
)
def read_internvideo(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of ``source path total_time start end label``; start -1 is a whole video."""
    for place, line in chain.from_iterable(map(read_lines, files)):
        source, _, rest = line.partition(" ")
        words = rest.rsplit(maxsplit=4)
        if len(words) != 5:
            raise place.wrong(f"{line!r}, expected source path total_time start end label")
        name, _, start, end, label = words
        whole_video = start.startswith("-1") or end.startswith("-1")
        times = WHOLE if whole_video else times_of(place, videos, name, [start, end])
        if times and (path := videos.at(name)):
            yield Row(
                path,
                labels={"label": label} if label != "-1" else {},
                source=source,
                flip=source not in NEVER_MIRRORED,
                start=times.start,
                end=times.end,
            )


@importer(
    "mmaction2",
    files="lists of a video and its classes; JSON of captions, or of labels by category (HVU)",
    row="a video",
    labels="as they are",
    group="the video",
)
def read_mmaction2(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of MMAction2's lists of videos, in text or JSON."""
    for file in files:
        if file.suffix.lower() != ".json":
            yield from _classes(file, videos)
        elif isinstance(found := read_json(file), list):
            yield from _categories(file, videos)
        elif isinstance(found, dict) and all(isinstance(one, list) for one in found.values()):
            for name, captions in found.items():
                if not all(isinstance(one, str) for one in captions):
                    raise DataError(f"{file}, {name}: expected a list of captions")
                if path := videos.at(name):
                    yield Row(path, captions=tuple(captions))
        else:
            for place, _, _ in read_named(file):
                raise place.wrong("expected a list of captions; for segments see activitynet")


def _classes(file: Path, videos: Videos) -> Iterator[Row]:
    for place, line in read_lines(file):
        words = line.split(" ")
        count = next((n for n in range(len(words), 0, -1) if _is_video(" ".join(words[:n]))), 0)
        if not count or count == len(words):
            raise place.wrong(
                f"{line!r}, expected the path of a video and its classes; folders of pictures "
                "are not read"
            )
        numbers = [str(whole_number(place, "a class", word)) for word in words[count:]]
        if path := videos.at(" ".join(words[:count])):
            yield Row(path, labels={"label": ";".join(numbers), **place.split})


def _categories(file: Path, videos: Videos) -> Iterator[Row]:
    for place, record in read_records(file):
        if "filename" not in record:
            raise place.wrong('no "filename"; lists of folders of parts or pictures are not read')
        name = text_of(place, record, "filename")
        found = record.get("label", {})
        if not isinstance(found, dict):
            found = {"label": found if isinstance(found, list) else [found]}
        labels = {}
        for kind in found:
            numbers = list_of(place, found, kind, int)
            labels[str(kind)] = ";".join(map(str, numbers))
        if path := videos.at(name):
            yield Row(path, labels=labels | place.split)


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES
