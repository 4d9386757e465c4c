"""COIN: one JSON object ``database`` of YouTube's videos with the steps of a task.

A video has ``class`` (the task), ``recipe_type`` (its number), ``subset``, and ``annotation``: a
list of steps with ``id``, ``label`` and ``segment`` in seconds. coin-dataset/annotations, README.md
on GitHub. Files are named by YouTube's id, in whatever folders.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of, segments_of
from ivn.corpus.importers.text import read_named, split_of, text_of
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row


@importer(
    "coin",
    files="`COIN.json`",
    row="a step",
    labels="`label` (the task), `step`; the step as caption",
    group="YouTube's id",
    recognises=lambda head: head.database("recipe_type", "class", "annotation"),
)
def read_coin(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each step, with the task as its label."""
    every = chain.from_iterable(read_named(file, inside="database") for file in files)
    for place, name, record in every:
        task = text_of(place, record, "class")
        split = split_of(place, '"subset"', record.get("subset"))
        for within, one, times in segments_of(place, videos, name, record, "annotation"):
            step = text_of(within, one, "label") if one else ""
            if path := videos.find(name):
                labels = {"label": task, "step": step, "split": split}
                yield row_of(path, labels, "coin", name, times, [step])
