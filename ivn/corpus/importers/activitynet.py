"""ActivityNet 1.2 and 1.3, and HACS: segments of YouTube's videos with their classes.

Both have a JSON object ``database`` of videos by YouTube's id, each with ``subset`` and
``annotations`` of a ``label`` and a ``segment`` in seconds (http://activity-net.org/download.html;
hangzhaomit/HACS-dataset, README.md on GitHub). Evaluation files leave ``database`` out and put
``v_`` before the id. HACS Clips are a csv ``classname,youtube_id,subset,start,end,label``, label
-1 for a clip that does not show the class. Videos are ``v_ID.mp4``, HACS with a folder for each
class. The labels of test sets are withheld: those videos are one row each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ivn.corpus.importers.segments import Span, segments_of, times_of, whole_video
from ivn.corpus.importers.text import read_json, read_named, read_table, split_of, text_of
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row


def read_activitynet(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields rows of ActivityNet."""
    for file in files:
        yield from _database(file, videos, "activitynet")


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
            if path := videos.find(
                f"{label}/v_{name}" if label else f"v_{name}", f"v_{name}", name
            ):
                row = whole_video(path, {"label": label, "split": split}, source, name)
                yield replace(row, start=times.start, end=times.end)


def _hacs_clips(file: Path, videos: Videos) -> Iterator[Row]:
    needed = ["classname", "youtube_id", "subset", "start", "end", "label"]
    for place, row in read_table(file, needed):
        name, label = row["youtube_id"], row["classname"]
        split = split_of(place, "subset", row["subset"])
        if row["label"] not in ("1", "-1", ""):
            raise place.wrong(f"label is {row['label']!r}, expected 1 or -1")
        # Test clips come without times, or with times and no class.
        timed = row["start"] or row["end"]
        pair = [row["start"], row["end"]]
        times = times_of(place, videos, name, pair) if timed else Span()
        if times is None:
            continue
        kind = "absent" if row["label"] == "-1" else "label"
        if path := videos.find(f"{label}/v_{name}" if label else f"v_{name}", f"v_{name}", name):
            labels = {kind: label, "split": split}
            yield replace(whole_video(path, labels, "hacs", name), start=times.start, end=times.end)
