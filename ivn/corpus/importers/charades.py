"""Charades: a csv a split and the classes; Charades-STA: a text of sentences with their times.

The csv has ``id``, ``subject`` (the person: the group), ``scene``, ``script``, ``descriptions``
(separated by ";"), ``actions`` (``c077 12.10 18.00;...``) and more; Charades_v1_classes.txt has
``c077 Putting a pillow somewhere``. Videos are ``ID.mp4``.
https://prior.allenai.org/projects/data/charades/README.txt. Charades-STA has ``ID start
end##sentence`` a line (open-mmlab/mmaction2, tools/data/charades-sta on GitHub).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of, times_of
from ivn.corpus.importers.text import (
    RecordPlace,
    classes_and_lists,
    read_lines,
    read_table,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row

_COLUMNS = ("id", "subject", "script", "descriptions", "actions")
_CLASS = re.compile(r"(c\d{3}) (.+)")


@importer(
    "charades",
    files="`Charades_v1_train.csv`; `Charades_v1_classes.txt` for names",
    row="a video",
    labels="`label`, all actions; `scene`; script and descriptions as captions; `actions` with "
    "times in `extra`",
    group="the person",
    recognises=lambda head: head.columns("id", "subject", "scene", "quality"),
)
def read_charades(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each video, all its actions as one label; their times are in ``extra``."""
    classes, lists = classes_and_lists(files, lambda file: file.suffix.lower() == ".txt")
    names = {key: name for file in classes for key, name in _classes(file).items()}
    for place, row in chain.from_iterable(read_table(file, _COLUMNS) for file in lists):
        actions = [_action(place, videos, row["id"], one) for one in _parts(row["actions"])]
        known = dict.fromkeys(_name(place, action, names) for action in actions)
        labels = {"label": ";".join(known), "scene": row.get("scene", ""), **place.split}
        captions = [row["script"], *_parts(row["descriptions"])]
        if path := videos.find(row["id"]):
            found = row_of(path, labels, "charades", row["subject"], captions=captions)
            extra = {"actions": row["actions"]} if row["actions"] else {}
            yield replace(found, extra=extra)


@importer(
    "charades-sta",
    files="`charades_sta_train.txt`, `charades_sta_test.txt`",
    row="a sentence",
    labels="the sentence as caption",
    group="the video",
    recognises=lambda head: head.lines(r"\w{5} [\d.]+ [\d.]+##.+"),
)
def read_charades_sta(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each sentence; the video is the group."""
    for place, line in chain.from_iterable(map(read_lines, files)):
        head, mark, sentence = line.partition("##")
        words = head.split()
        if not (mark and sentence and len(words) == 3):
            raise place.wrong(f"{line!r}, expected ID start end##sentence")
        name = words[0]
        times = times_of(place, videos, name, words[1:])
        if times and (path := videos.find(name)):
            yield row_of(path, place.split, "charades", name, times, [sentence])


def _classes(file: Path) -> dict[str, str]:
    names = {}
    for place, line in read_lines(file):
        found = _CLASS.fullmatch(line)
        if found is None:
            raise place.wrong(f"{line!r}, expected a class such as c077 and its name")
        names[found[1]] = found[2]
    return names


def _action(place: RecordPlace, videos: Videos, video: str, text: str) -> str:
    words = text.split()
    if len(words) != 3 or not re.fullmatch(r"c\d{3}", words[0]):
        raise place.wrong(f"the action {text!r}, expected a class such as c077 and two times")
    times_of(place, videos, video, words[1:])
    return words[0]


def _name(place: RecordPlace, action: str, names: dict[str, str]) -> str:
    if names and action not in names:
        raise place.wrong(f"class {action} is not among the {len(names)} of the list")
    return names.get(action, action)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]
