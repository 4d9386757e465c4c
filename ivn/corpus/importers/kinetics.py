"""Kinetics 400, 600 and 700: a csv a split; Kinetics 710: lists of ``path class``.

The csv has ``label,youtube_id,time_start,time_end,split`` and, in Kinetics 400, ``is_cc``; that of
a test set may be without label. Clips are ``ID_ssssss_eeeeee.mp4``, the times with six digits, in
one folder or one for each class: activitynet/ActivityNet, Crawler/Kinetics/download.py, and
cvdfoundation/kinetics-dataset on GitHub. Kinetics 710 comes as lines of a path and a number into
its list of 710 classes (open-mmlab/mmaction2, tools/data/kinetics710, and VideoMAE V2's
misc/label_map_k710.txt).
"""

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import WHOLE, row_of, times_of
from ivn.corpus.importers.text import read_lines, read_table, split_of, whole_number
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row

_CLIP = ("youtube_id", "time_start", "time_end")
_CUT = re.compile(r"(.{11})_\d{6}_\d{6}")
CLASSES_710 = Path(__file__).parents[1] / "mix" / "recipes" / "kinetics710.txt"


def _read_clips(files: Sequence[Path], videos: Videos, *, source: str) -> Iterator[Row]:
    """Yields rows of Kinetics 400, 600 or 700."""
    for place, row in chain.from_iterable(read_table(file, [*_CLIP, "split"]) for file in files):
        name = row["youtube_id"]
        if not name:
            raise place.wrong("no youtube_id")
        times = times_of(place, videos, name, [row["time_start"], row["time_end"]])
        if times is None:
            continue
        cut = f"{name}_{int(times.start):06d}_{int(times.end):06d}"
        if path := videos.find(cut, name):
            split = split_of(place, "split", row["split"])
            # A file of the bare name is the video as it is on YouTube, of which the clip is a
            # part. Were it the clip after all, no frame would be found between its times,
            # which shows at once.
            part = WHOLE if os.path.basename(path).startswith(cut) else times
            labels = {"label": row.get("label", ""), "split": split}
            yield row_of(path, labels, source, name, part)


for _name in ("kinetics400", "kinetics600", "kinetics700"):
    importer(
        _name,
        files="`train.csv`, `val.csv`, `test.csv`",
        row="a clip `ID_ssssss_eeeeee.mp4`, or that part of `ID.mp4`",
        labels="`label`",
        group="YouTube's id",
        recognises=lambda head: head.has_columns(*_CLIP),
    )(partial(_read_clips, source=_name))


@importer(
    "kinetics710",
    files="lists of a path and a number from 0 to 709",
    row="a clip",
    labels="`label`",
    group="YouTube's id",
)
def read_kinetics710(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the lists of Kinetics 710."""
    classes = CLASSES_710.read_text(encoding="utf-8").splitlines()
    for place, line in chain.from_iterable(map(read_lines, files)):
        # Parted by a space or a comma, which the path may have as well.
        path, _, number = line.rpartition("," if "," in line.rpartition(" ")[2] else " ")
        index = whole_number(place, "the class", number)
        clip = _CUT.fullmatch(Path(path).stem)
        if clip is None or index >= len(classes):
            raise place.wrong(
                f"{line!r}, expected a path such as ID_000010_000020.mp4 "
                f"and a class from 0 to {len(classes) - 1}"
            )
        if found := videos.find(path.strip(" ,")):
            labels = {"label": classes[index], **place.split}
            yield Row(found, labels=labels, source="kinetics710", group=clip[1])
