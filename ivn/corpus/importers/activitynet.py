"""ActivityNet 1.2 and 1.3, and HACS: segments of YouTube's videos with their classes.

Both have a JSON object ``database`` of videos by YouTube's id, each with ``subset`` and
``annotations`` of a ``label`` and a ``segment`` in seconds (http://activity-net.org/download.html;
hangzhaomit/HACS-dataset, README.md on GitHub). Evaluation files leave ``database`` out and put
``v_`` before the id. HACS Clips are a csv ``classname,youtube_id,subset,start,end,label``, label
-1 for a clip that does not show the class. Videos are ``v_ID.mp4``, HACS with a folder for each
class. The labels of test sets are withheld: those videos are one row each.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import WHOLE, row_of, segments_of, times_of
from ivn.corpus.importers.text import read_json, read_named, read_table, split_of, text_of
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row

_CLIPS = ("classname", "youtube_id", "subset", "start", "end", "label")


@importer(
    "activitynet",
    files="`activity_net.v1-3.min.json`",
    row="a segment; a whole video of the test set",
    labels="`label`",
    group="YouTube's id",
    recognises=lambda head: head.keys("database", "taxonomy", "version"),
)
def read_activitynet(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of ActivityNet."""
    for file in files:
        yield from _database(file, videos, "activitynet")


@importer(
    "hacs",
    files="`HACS_clips_v1.1.1.csv` or, by name alone, `HACS_segments_v1.1.1.json`",
    row="a clip or segment",
    labels="`label`; `absent` for a clip that does not show the class",
    group="YouTube's id",
    recognises=lambda head: head.columns(*_CLIPS),
)
def read_hacs(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of HACS Clips (csv) and HACS Segments (JSON)."""
    for file in files:
        if file.suffix.lower() == ".csv":
            yield from _hacs_clips(file, videos)
        else:
            yield from _database(file, videos, "hacs")


def _database(file: Path, videos: Videos, source: str) -> Iterator[Row]:
    found = read_json(file)
    inside = "database" if isinstance(found, dict) and "database" in found else ""
    for place, key, record in read_named(file, inside=inside):
        name = key.removeprefix("v_") if len(key) == 13 else key
        split = split_of(place, '"subset"', record.get("subset"))
        for within, one, times in segments_of(place, videos, name, record, "annotations"):
            label = text_of(within, one, "label") if one else ""
            if path := _find(videos, label, name):
                yield row_of(path, {"label": label, "split": split}, source, name, times)


def _hacs_clips(file: Path, videos: Videos) -> Iterator[Row]:
    for place, row in read_table(file, _CLIPS):
        name, label = row["youtube_id"], row["classname"]
        split = split_of(place, "subset", row["subset"])
        if row["label"] not in ("1", "-1", ""):
            raise place.wrong(f"label is {row['label']!r}, expected 1 or -1")
        # Test clips come without times, or with times and no class.
        timed = row["start"] or row["end"]
        pair = [row["start"], row["end"]]
        times = times_of(place, videos, name, pair) if timed else WHOLE
        kind = "absent" if row["label"] == "-1" else "label"
        if times and (path := _find(videos, label, name)):
            yield row_of(path, {kind: label, "split": split}, "hacs", name, times)


def _find(videos: Videos, label: str, name: str) -> str:
    return videos.find(f"{label}/v_{name}" if label else f"v_{name}", f"v_{name}", name)
