"""MSR-VTT: one JSON object with ``videos`` and ``sentences``, and category.txt.

A video has ``video_id`` (``video0``, also the name of its file), ``category``, ``url``, ``split``
and the times at which it was cut from the url; a sentence has ``video_id`` and ``caption`` (the
set's own readme.txt, MSR-VTT 10K). category.txt has a name and a number a line, separated by a tab.
Files are the cut clips; YouTube's id is the group.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of
from ivn.corpus.importers.text import (
    RecordPlace,
    classes_and_lists,
    list_of,
    read_json,
    read_lines,
    split_of,
    text_of,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

_KEYS = ("videos", "sentences")


@importer(
    "msrvtt",
    files="`train_val_videodatainfo.json`; `category.txt` for names",
    row="a video",
    labels="`category`; all sentences as captions",
    group="YouTube's id",
    recognises=lambda head: head.keys(*_KEYS),
)
def read_msrvtt(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each video with all its captions; its category by name with category.txt."""
    classes, lists = classes_and_lists(files, lambda file: file.suffix.lower() == ".txt")
    names = {number: name for file in classes for number, name in _categories(file).items()}
    for file in lists:
        found = read_json(file)
        if not isinstance(found, dict) or not set(_KEYS) <= set(found):
            raise DataError(f'{file}: expected an object with "videos" and "sentences"')
        whole = RecordPlace(file, "the file")
        captions: dict[str, list[str]] = {}
        for number, one in enumerate(list_of(whole, found, "sentences", dict), 1):
            place = RecordPlace(file, f"sentence {number}")
            name = text_of(place, one, "video_id")
            captions.setdefault(name, []).append(text_of(place, one, "caption"))
        for number, one in enumerate(list_of(whole, found, "videos", dict), 1):
            place = RecordPlace(file, f"video {number}")
            name = text_of(place, one, "video_id")
            labels = _labels(place, one, names)
            if path := videos.find(name):
                group = youtube_id(str(one.get("url", ""))) or name
                yield row_of(path, labels, "msrvtt", group, captions=captions.get(name, ()))


def youtube_id(url: str) -> str:
    """Returns the video's id in an address of YouTube; "" if it has none."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query).get("v", [""])[0]
    return asked or parts.path.rpartition("/")[2]


def _labels(place: RecordPlace, one: dict[str, Any], names: dict[str, str]) -> dict[str, str]:
    labels = {"split": split_of(place, '"split"', one.get("split"))}
    if "category" in one:
        number = text_of(place, one, "category")
        if names and number not in names:
            raise place.wrong(f"category {number} is not among the {len(names)} of the list")
        labels["category"] = names.get(number, number)
    return labels


def _categories(file: Path) -> dict[str, str]:
    found = {}
    for place, line in read_lines(file):
        parts = re.fullmatch(r"(\S.*\S)\s+(\d+)", line)
        if parts is None:
            raise place.wrong(f"{line!r}, expected a category and its number")
        found[parts[2]] = parts[1]
    return found
