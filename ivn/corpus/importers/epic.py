"""EPIC-Kitchens-100: a csv a split, and csv files of the verb and noun classes.

EPIC_100_train.csv and EPIC_100_validation.csv have a row for each action: ``video_id``,
``participant_id``, ``start_timestamp`` and ``stop_timestamp`` (HH:mm:ss.SS), ``narration``,
``verb_class``, ``noun_class`` and more; the test set has times alone. EPIC_100_verb_classes.csv and
EPIC_100_noun_classes.csv name the classes (``id``, ``key``). Videos are ``P01/videos/P01_11.MP4``.
epic-kitchens/epic-kitchens-100-annotations, README.md on GitHub. A participant filmed in one
kitchen: that is the group.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of, times_of
from ivn.corpus.importers.text import (
    RecordPlace,
    classes_and_lists,
    read_fields,
    read_table,
    seconds,
    whole_number,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

_TIMES = ["participant_id", "video_id", "start_timestamp", "stop_timestamp"]


@importer(
    "epic-kitchens-100",
    files="`EPIC_100_train.csv` and so on; `verb_` and `noun_classes.csv` for names",
    row="an action",
    labels="`verb`, `noun`, `action`; the narration as caption",
    group="the participant",
    recognises=lambda head: head.columns("narration_id", "participant_id", "video_id"),
)
def read_epic(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the actions; verbs and nouns by name if the files of classes are given."""
    names: dict[str, dict[str, str]] = {"verb": {}, "noun": {}}
    classes, lists = classes_and_lists(files, _classes_in)
    for file in classes:
        for place, row in read_table(file, ["id", "key"]):
            names[_classes_in(file)][str(whole_number(place, "id", row["id"]))] = row["key"]
    for place, row in chain.from_iterable(read_table(file, _TIMES) for file in lists):
        name = row["video_id"]
        pair = [_clock(place, column, row[column]) for column in _TIMES[2:]]
        times = times_of(place, videos, name, pair)
        labels = _labels(place, row, names)
        if times and (path := videos.find(name)):
            person, caption = row["participant_id"], row.get("narration", "")
            yield row_of(path, labels | place.split, "epic-kitchens-100", person, times, [caption])


def _classes_in(file: Path) -> str:
    """Returns ``verb`` or ``noun`` if the file has the classes of these, else nothing."""
    first = next((fields for _, fields in read_fields(file)), [])
    if first[:2] != ["id", "key"]:
        return ""
    for kind in ("verb", "noun"):
        if f"{kind}_classes" in file.name:
            return kind
    raise DataError(f"{file}: classes, expected verb_classes or noun_classes in the name")


def _labels(
    place: RecordPlace, row: dict[str, str], names: dict[str, dict[str, str]]
) -> dict[str, str]:
    found = {}
    for kind, classes in names.items():
        number = row.get(f"{kind}_class", "")
        if not number:
            continue
        number = str(whole_number(place, f"{kind}_class", number))
        if classes and number not in classes:
            raise place.wrong(f"{kind}_class {number} is not among the {len(classes)} classes")
        found[kind] = classes.get(number, number)
    if len(found) == len(names):
        found["action"] = " ".join(found.values())
    return found


def _clock(place: RecordPlace, name: str, text: str) -> float:
    """Returns the seconds of ``HH:mm:ss.SS``."""
    parts = text.split(":")
    if len(parts) != 3:
        raise place.wrong(f"{name} is {text!r}, expected HH:mm:ss.SS")
    hours, minutes, rest = (seconds(place, name, part) for part in parts)
    return round(3600 * hours + 60 * minutes + rest, 6)
