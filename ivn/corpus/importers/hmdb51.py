"""HMDB51: a list of one of three folds for each action, or one list of ``action/name class``.

``brush_hair_test_split1.txt`` has ``name.avi id``, id 1 for training, 2 for the test and 0 for
neither (the set's split_readme.txt); a video is ``action/name.avi``. The other form, as MMAction2
makes it (tools/data/hmdb51 there), has ``action/name number``. A name starts with its film or
video, followed by the action: what is before, without the number of the part, is the group.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of
from ivn.corpus.importers.text import RecordPlace, read_lines
from ivn.corpus.importers.ucf101 import check_one_fold
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row

_OFFICIAL = re.compile(r"(?P<action>\w+)_test_split[123]\.txt")
_SPLITS = {"1": "train", "2": "test"}


@importer(
    "hmdb51",
    files="the `*_test_split1.txt` of one fold, or `action/name number`",
    row="a video",
    labels="`label`",
    group="the film or video in the name",
    recognises=lambda head: _OFFICIAL.fullmatch(head.file.name) is not None,
)
def read_hmdb51(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the lists, without the videos that a fold does not use."""
    check_one_fold([file for file in files if _OFFICIAL.fullmatch(file.name)])
    for place, line in chain.from_iterable(map(read_lines, files)):
        official = _OFFICIAL.fullmatch(place.file.name)
        if official:
            label, name, split = official["action"], *_marked(place, line)
            if not split:
                continue
        else:
            label, name = _path(place, line)
            split = place.split.get("split", "")
        if path := videos.find(f"{label}/{name}"):
            labels = {"label": label, "split": split}
            yield row_of(path, labels, "hmdb51", _origin(name, label))


def _marked(place: RecordPlace, line: str) -> tuple[str, str]:
    name, _, mark = line.rpartition(" ")
    if not name or mark not in ("0", "1", "2"):
        raise place.wrong(f"{line!r}, expected a video and 0, 1 or 2")
    return name.strip(), _SPLITS.get(mark, "")


def _path(place: RecordPlace, line: str) -> tuple[str, str]:
    path, _, number = line.rpartition(" ")
    label, _, name = path.rpartition("/")
    if not label or not re.search(rf"_{re.escape(label)}_.*_np\d_", name) or not number.isdigit():
        raise place.wrong(f"{line!r}, expected action/film_action_h_nm_np1_... and a class number")
    return label, name


def _origin(name: str, label: str) -> str:
    """Returns the name of the film, which is the same for its parts, however it is written."""
    # Too large a group costs nothing; two parts of one film on both sides of a split would.
    before = name.partition(f"_{label}_")[0].lower()
    return re.sub(r"_\d+$", "", before)
