"""YouCook2: JSON of YouTube's cooking videos with a sentence for each step.

youcookii_annotations_trainval.json has ``database``, in it for each video ``recipe_type``,
``subset`` and ``annotations`` with ``segment`` and ``sentence``; videos are
``SPLIT/RECIPE/ID`` (the set's own download_youcookII_videos.py). The other form, of dense
captioning, has for each video (``v_ID``) ``sentences``, ``timestamps`` and ``duration``; withheld
sentences are "None".
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import row_of, segments_of, times_of
from ivn.corpus.importers.text import (
    RecordPlace,
    list_of,
    read_json,
    read_named,
    split_by_name,
    split_of,
    text_of,
)
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row


@importer(
    "youcook2",
    files="`youcookii_annotations_trainval.json` or, by name alone, dense-captioning JSON",
    row="a step; a whole video where sentences are withheld",
    labels="`recipe`; the sentence as caption",
    group="YouTube's id",
    recognises=lambda head: head.database("recipe_type", "annotations", "subset"),
)
def read_youcook2(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each sentence, or for the whole video if its sentences are withheld."""
    for file in files:
        found = read_json(file)
        if isinstance(found, dict) and "database" in found:
            for place, name, record in read_named(file, inside="database"):
                yield from _recipe(place, name, record, videos)
        else:
            split = split_by_name(file)
            for place, key, record in read_named(file):
                name = key.removeprefix("v_") if len(key) == 13 else key
                yield from _dense(place, name, record, split, videos)


def _recipe(place: RecordPlace, name: str, record: dict[str, Any], videos: Videos) -> Iterator[Row]:
    labels = {
        "recipe": text_of(place, record, "recipe_type"),
        "split": split_of(place, '"subset"', record.get("subset")),
    }
    for within, one, times in segments_of(place, videos, name, record, "annotations"):
        caption = text_of(within, one, "sentence") if one else ""
        if path := videos.find(name):
            yield row_of(path, labels, "youcook2", name, times, [caption])


def _dense(
    place: RecordPlace, name: str, record: dict[str, Any], split: dict[str, str], videos: Videos
) -> Iterator[Row]:
    sentences = list_of(place, record, "sentences", str)
    pairs = list_of(place, record, "timestamps", list)
    if len(sentences) != len(pairs):
        raise place.wrong(f"{len(sentences)} sentences and {len(pairs)} timestamps")
    if set(sentences) <= {"None"}:
        if path := videos.find(f"v_{name}", name):
            yield row_of(path, split, "youcook2", name)
        return
    for sentence, pair in zip(sentences, pairs, strict=True):
        times = times_of(place, videos, name, pair)
        if times and (path := videos.find(f"v_{name}", name)):
            yield row_of(path, split, "youcook2", name, times, [sentence.strip()])
