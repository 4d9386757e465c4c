"""Moments in Time: a csv a split, without a line of names.

Each row has the file (``class/name.mp4``), the class, and how many workers agreed and disagreed;
files are below ``training/`` and ``validation/`` (the data set's own README.txt; open-mmlab/
mmaction2, tools/data/parse_file_list.py on GitHub). A name ends in the number of the clip within
its source, ``yt-5of6ffo6-Bw_205``: what is before is the group, YouTube's id where it has one.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.text import read_fields
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row


@importer(
    "moments",
    files="`trainingSet.csv`, `validationSet.csv`",
    row="a video",
    labels="`label`",
    group="the source video: YouTube's id where it has one",
    recognises=lambda head: head.lines(r"[^/,]+/[^/,]+\.mp4,[^,]+,\d+,\d+"),
)
def read_moments(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of the lists."""
    for place, fields in chain.from_iterable(map(read_fields, files)):
        if len(fields) != 4 or "/" not in fields[0]:
            raise place.wrong(
                f"{len(fields)} fields, {fields[0]!r} for the first; "
                "expected class/file.mp4,class,agreed,disagreed"
            )
        name, label = fields[:2]
        if path := videos.find(name):
            origin = Path(name).stem.rpartition("_")[0] or Path(name).stem
            group = origin.removeprefix("yt-")
            yield Row(path, labels={"label": label, **place.split}, source="moments", group=group)
