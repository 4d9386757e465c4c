"""UCF101: lists of one of three folds, and classInd.txt.

trainlist01.txt has ``Class/v_Class_g08_c01.avi 1``, testlist01.txt the path alone, classInd.txt
the number and name of each class (the set's own files). A clip's name says from which of a class's
25 groups of videos it is; clips of a group share person and background, so that no split parts it.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.text import classes_and_lists, read_lines
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row
from ivn.errors import DataError

_NAME = re.compile(r"v_(?P<name>\w+)_(?P<group>g\d+)_c\d+\.avi")


@importer(
    "ucf101",
    files="`trainlist01.txt`, `testlist01.txt` of one fold; `classInd.txt` to check classes",
    row="a video",
    labels="`label`",
    group="the set's own groups `g01` to `g25` of each class",
    recognises=lambda head: head.lines(r"\w+/v_\w+_g\d+_c\d+\.avi( \d+)?"),
)
def read_ucf101(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the lists of one fold; classes must be in classInd.txt if it is given."""
    named, lists = classes_and_lists(files, _has_classes)
    classes = {line.split()[-1]: line.split()[0] for file in named for _, line in read_lines(file)}
    check_one_fold(lists)
    for place, line in chain.from_iterable(map(read_lines, lists)):
        words = line.split()
        label, _, name = words[0].rpartition("/")
        parts = _NAME.fullmatch(name)
        if not (label and parts and len(words) <= 2):
            raise place.wrong(f"{line!r}, expected Class/v_Class_g01_c01.avi and a class number")
        number = classes.get(label)
        if classes and (number is None or (len(words) == 2 and words[1] != number)):
            raise place.wrong(f"{line!r}, but that class has the number {number}")
        if path := videos.find(words[0]):
            group = f"{parts['name']}_{parts['group']}"
            yield Row(path, labels={"label": label, **place.split}, source="ucf101", group=group)


def _has_classes(file: Path) -> bool:
    return any(re.fullmatch(r"\d+ \w+", line) for _, line in islice(read_lines(file), 1))


def check_one_fold(files: Sequence[Path]) -> None:
    """Raises DataError if the files' names end in the numbers of different folds."""
    folds = {
        found[1] for file in files if (found := re.search(r"(\d+)(?:\.head)?\.txt$", file.name))
    }
    if len(folds) > 1:
        raise DataError(
            f"{files[0]}: lists of the folds {', '.join(sorted(folds))} together, expected those "
            "of one: a video is in training in one fold and in the test of another"
        )
