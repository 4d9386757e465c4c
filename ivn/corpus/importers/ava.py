"""AVA: a csv of people's boxes and actions, a second at a time, and a list of the actions.

Each row has the video, a second of it, a box (left, top, right, bottom from 0 to 1), an action's
number and a person's (open-mmlab/mmaction2, tools/data/ava/AVA_annotation_explained.md on GitHub).
The list is a pbtxt of ``item { name: "stand" id: 12 }``. Labels are of the middle frame of three
seconds (arXiv 1705.08421, section 3): those are the row. Videos are whole films, by YouTube's id
(cvdfoundation/ava-dataset); ones cut to the annotated quarter of an hour have other times.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.text import (
    RecordPlace,
    classes_and_lists,
    read_fields,
    read_lines,
    seconds,
    split_by_name,
    whole_number,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

_HALF = 1.5
_FIELD = re.compile(r'(name|id|label_id)\s*:\s*(?:"([^"]*)"|(\d+))')


@importer(
    "ava",
    files="`ava_train_v2.2.csv` and so on; the action list (pbtxt) for names",
    row="three seconds around each annotated one of a whole film",
    labels="`label`, all actions; `boxes` in `extra`",
    group="the film",
    recognises=lambda head: head.lines(r"[^/,]{11},\d{4}(,[01]\.\d+){4},\d+,\d+"),
)
def read_ava(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each second of a film, with its actions, and boxes in ``extra`` as JSON.

    If a list of actions is given, those that it lacks are no labels.
    """
    classes, lists = classes_and_lists(files, lambda file: file.suffix in (".pbtxt", ".txt"))
    names = {number: name for file in classes for number, name in _actions(file).items()}
    for file in lists:
        split = split_by_name(file)
        seen: dict[tuple[str, str], list[list[float]]] = {}
        for place, fields in read_fields(file):
            if len(fields) != 8 or "/" in fields[0]:
                raise place.wrong(
                    f"{len(fields)} fields, {fields[0]!r} for the first; "
                    "expected id, second, left, top, right, bottom, action, person"
                )
            seen.setdefault((fields[0], fields[1]), []).append(_box(place, fields))
        for (name, second), boxes in seen.items():
            if path := videos.find(name):
                middle = float(second)
                found = dict.fromkeys(int(box[4]) for box in boxes)
                # The list of the challenge has 60 of the 80 actions that the boxes have.
                label = ";".join(
                    names.get(one, str(one)) for one in found if not names or one in names
                )
                yield Row(
                    path,
                    start=max(0.0, middle - _HALF),
                    end=middle + _HALF,
                    labels=({"label": label} if label else {}) | split,
                    source="ava",
                    group=name,
                    extra={"boxes": json.dumps(boxes)},
                )


def _box(place: RecordPlace, fields: list[str]) -> list[float]:
    """Returns left, top, right, bottom, action, person."""
    seconds(place, "the second", fields[1])
    sides = [seconds(place, "a side of the box", side) for side in fields[2:6]]
    if max(sides) > 1 or sides[2] < sides[0] or sides[3] < sides[1]:
        raise place.wrong(f"the box {sides}, expected left, top, right, bottom from 0 to 1")
    action = whole_number(place, "the action", fields[6])
    return [*sides, action, whole_number(place, "the person", fields[7])]


def _actions(file: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    name = ""
    for place, line in read_lines(file):
        for key, text, number in _FIELD.findall(line):
            if key == "name":
                name = text
            elif name:
                found[int(number)] = name
                name = ""
            else:
                raise place.wrong("an id without a name before it")
    if not found:
        raise DataError(f'{file}: no actions, expected items of name: "..." and id: ...')
    return found
