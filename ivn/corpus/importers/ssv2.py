"""Something-Something v2: a JSON list a split, and labels.json with the number of each class.

A record has ``id``, ``label`` (the template filled in, a caption), ``template`` (the class, what
is filled in between square brackets) and ``placeholders``; those of the test set have ``id``
alone. The class is the template without its brackets, as labels.json has it. Videos are
``ID.webm``. open-mmlab/mmaction2, tools/data/parse_file_list.py on GitHub, and the data set card
HuggingFaceM4/something_something_v2. Who filmed is not published, so each video is its own group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of
from ivn.corpus.importers.text import (
    RecordPlace,
    classes_and_lists,
    read_json,
    read_records,
    text_of,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError


@importer(
    "ssv2",
    files="`something-something-v2-train.json` and so on; `labels.json` to check classes",
    row="a video; never mirrored",
    labels="`label`, `objects`; the label filled in as caption",
    group="the video",
    recognises=lambda head: head.records("id", "label", "template", "placeholders"),
)
def read_ssv2(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the lists; classes must be in labels.json if it is among the files."""
    named, lists = classes_and_lists(files, lambda file: isinstance(read_json(file), dict))
    classes = {name for file in named for name in _classes(file)}
    for place, record in chain.from_iterable(map(read_records, lists)):
        name = text_of(place, record, "id")
        about = _about(place, record, classes)
        if found := videos.find(name):
            labels = {key: about.get(key, "") for key in ("label", "objects")} | place.split
            row = row_of(found, labels, "ssv2", "", captions=[about.get("caption", "")])
            yield replace(row, flip=False)


def _classes(file: Path) -> list[str]:
    found = read_json(file)
    if not all(isinstance(number, (str, int)) for number in found.values()):
        raise DataError(f"{file}: an object, expected a list of videos or labels.json")
    return list(found)


def _about(place: RecordPlace, record: dict[str, Any], classes: set[str]) -> dict[str, str]:
    if not {"label", "template"} & set(record):
        return {}
    label = text_of(place, record, "template").replace("[", "").replace("]", "")
    if classes and label not in classes:
        raise place.wrong(f"the class {label!r} is not among the {len(classes)} of the labels")
    about = {"label": label, "caption": text_of(place, record, "label")}
    objects = record.get("placeholders")
    if isinstance(objects, list) and objects:
        about["objects"] = ";".join(str(one).replace(";", ",") for one in objects)
    return about
