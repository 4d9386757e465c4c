"""Segments with labels, as in sets of untrimmed videos, which are named by YouTube's id."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ivn.corpus.importers.text import RecordPlace, list_of, seconds
from ivn.corpus.importers.videos import Videos
from ivn.data.manifest.parquet import Row


class Span(NamedTuple):
    """A part of a video in seconds, all of it by default."""

    start: float = 0.0
    end: float = -1.0


WHOLE = Span()


def times_of(place: RecordPlace, videos: Videos, name: str, pair: Sequence[Any]) -> Span | None:
    """Returns the span from one time to the other; None, and counted, if it ends before it starts.

    Raises:
        DataError: these are no two times.
    """
    if len(pair) != 2:
        raise place.wrong(f"{list(pair)!r}, expected a start and an end in seconds")
    start, end = (
        seconds(place, word, value) for word, value in zip(("start", "end"), pair, strict=True)
    )
    if end <= start:
        videos.unusable.add(f"{name} from {start:g} s to {end:g} s")
        return None
    return Span(start, end)


def segments_of(
    place: RecordPlace, videos: Videos, name: str, record: Mapping[str, Any], key: str
) -> Iterator[tuple[RecordPlace, dict[str, Any], Span]]:
    """Yields annotations under ``key`` with their ``segment``; the whole video if there is none."""
    found = list_of(place, dict(record), key, dict)
    if not found:
        yield place, {}, WHOLE
    for number, one in enumerate(found, 1):
        within = RecordPlace(place.file, f"{place.record}, segment {number}")
        if not isinstance(one.get("segment"), list):
            raise within.wrong('no "segment", expected a start and an end in seconds')
        if times := times_of(within, videos, name, one["segment"]):
            yield within, one, times


def row_of(
    path: str,
    labels: Mapping[str, str],
    source: str,
    group: str,
    span: Span = WHOLE,
    captions: Iterable[str] = (),
) -> Row:
    """Returns a row of a part of a video, without labels and captions that are empty."""
    return Row(
        path,
        labels={name: value for name, value in labels.items() if value},
        captions=tuple(filter(None, captions)),
        source=source,
        group=group,
        start=span.start,
        end=span.end,
    )
