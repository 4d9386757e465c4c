"""DiDeMo: a JSON list a split of descriptions of moments.

A record has ``video`` (the name of its file), ``description``, ``num_segments`` and ``times``: for
each annotator the first and last of the video's pieces of five seconds; videos are cut at 30 s.
LisaAnne/LocalizingMoments, README.md on GitHub. Files are of that name, or with ``.mp4`` after it,
as the script there writes them. Of the annotators the most frequent pair is taken, the first of
equals. The video is the group.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ivn.corpus.importers.importer import importer
from ivn.corpus.importers.segments import Span, row_of
from ivn.corpus.importers.text import list_of, read_records, text_of
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row

_PIECE = 5.0
_MOST = 1000


@importer(
    "didemo",
    files="`train_data.json` and so on",
    row="a described moment, as most annotators have it",
    labels="the description as caption",
    group="the video",
    recognises=lambda head: head.records("description", "times", "video"),
)
def read_didemo(files: Sequence[Path], videos: Videos) -> Iterator[Row]:
    """Yields a row for each description."""
    for place, record in chain.from_iterable(map(read_records, files)):
        name = text_of(place, record, "video")
        caption = text_of(place, record, "description")
        pairs = []
        for pair in list_of(place, record, "times", list):
            if len(pair) != 2 or not all(isinstance(one, int) and 0 <= one < _MOST for one in pair):
                raise place.wrong(f"times has {pair!r}, expected the first and last piece")
            pairs.append(tuple(pair))
        if not pairs:
            raise place.wrong("times is empty, expected the pair of an annotator")
        first, last = Counter(pairs).most_common(1)[0][0]
        if last < first:
            videos.unusable.add(f"{name} from piece {first} to {last}")
        elif path := videos.find(name):
            moment = Span(first * _PIECE, (last + 1) * _PIECE)
            yield row_of(path, place.split, "didemo", name, moment, [caption])
