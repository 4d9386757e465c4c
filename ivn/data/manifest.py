"""Manifests: one Parquet file, one row a clip, with all that is known of it.

The columns and their types are in :class:`Row` and docs/data.md. A reader needs ``path`` alone,
takes the others' defaults where they are missing or null, and passes over columns that it does
not know, so that manifests of later versions can be read.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivn.data.source import MANIFEST_SUFFIX, NEVER_MIRRORED, DataError, Source, check_some_exist

if TYPE_CHECKING:
    import pyarrow as pa

# Rows that are Python objects at a time, while reading.
_ROWS = 65536


@dataclass(frozen=True)
class Row:
    """A row of a manifest; each attribute is a column of that name.

    Paths are absolute, or relative to the folder of the manifest. "", 0 and 0.0 mean unknown or
    none, unless said otherwise.

    Attributes:
        path: of the video, or of the tar that holds it.
        member: name of the video inside the tar; "" where ``path`` is the video.
        offset: of the member's first byte from the start of the tar.
        start, end: seconds from the first frame; ``end`` -1 is the end of the file.
        labels: name -> value. Several values of one name are one string, parted by ";".
        captions: texts that describe the clip.
        audio: path of a sound file beside the video.
        targets: kind -> path of a side file, such as depth, boxes, actions.
        source: data set that the clip is from; clips of ``ssv2`` are never mirrored.
        group: what no split may part, such as the film or the person; "" is the file itself.
        width, height: of a frame as shown, in pixels.
        fps: frames a second, on average.
        frames: in the file.
        duration: of the file, in seconds.
        codec: of the video, by FFmpeg's name.
        pixel_format: by FFmpeg's name, such as yuv420p.
        rotation: degrees anticlockwise by which players turn the frames: 0, 90, 180 or 270.
        variable_rate: whether the time from frame to frame varies.
        keyframe_seconds: mean time between key frames.
        bytes: of the video; those of a member within its tar.
        hash: of the video's bytes, as ``sha256:`` and 64 hexadecimal digits.
        phash: perceptual hash of some key frames.
        status: "" not looked at, "ok", or why the video cannot be used.
        decoder: the back end that fits the video; "" leaves it to the reader.
        flip: whether the clip may be mirrored.
        weight: of the clip in sampling, where sources are mixed by weight.
        extra: anything else, name -> value.
    """

    path: str
    member: str = ""
    offset: int = 0
    start: float = 0.0
    end: float = -1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    captions: Sequence[str] = ()
    audio: str = ""
    targets: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    group: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    duration: float = 0.0
    codec: str = ""
    pixel_format: str = ""
    rotation: int = 0
    variable_rate: bool = False
    keyframe_seconds: float = 0.0
    bytes: int = 0
    hash: str = ""
    phash: str = ""
    status: str = ""
    decoder: str = ""
    flip: bool = True
    weight: float = 1.0
    extra: Mapping[str, str] = field(default_factory=dict)


def schema() -> "pa.Schema":
    """The columns of :class:`Row` and their types in Parquet."""
    import pyarrow as pa

    text, words = pa.string(), pa.map_(pa.string(), pa.string())
    types: dict[str, pa.DataType] = {
        "path": text,
        "member": text,
        "offset": pa.int64(),
        "start": pa.float64(),
        "end": pa.float64(),
        "labels": words,
        "captions": pa.list_(text),
        "audio": text,
        "targets": words,
        "source": text,
        "group": text,
        "width": pa.int32(),
        "height": pa.int32(),
        "fps": pa.float64(),
        "frames": pa.int64(),
        "duration": pa.float64(),
        "codec": text,
        "pixel_format": text,
        "rotation": pa.int32(),
        "variable_rate": pa.bool_(),
        "keyframe_seconds": pa.float64(),
        "bytes": pa.int64(),
        "hash": text,
        "phash": text,
        "status": text,
        "decoder": text,
        "flip": pa.bool_(),
        "weight": pa.float64(),
        "extra": words,
    }
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def write_manifest(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write ``rows`` to a new file at ``path``, under a temporary name until it is whole.

    Raises:
        DataError: there is a file already, the name does not end in .parquet, there is no row, or
            a row has a wrong type or a text that is not Unicode; it is named.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    place = Path(path)
    if place.suffix.lower() != MANIFEST_SUFFIX:
        raise DataError(f"{place}: a manifest's name ends in {MANIFEST_SUFFIX}")
    if place.exists():
        raise DataError(f"{place}: is there already, and is not overwritten")
    if not rows:
        raise DataError(f"{place}: no rows to write")
    columns = list(zip(*(_plain(row) for row in rows), strict=True))
    kinds = schema()
    arrays = []
    for kind, column in zip(kinds, columns, strict=True):
        try:
            arrays.append(pa.array(column, kind.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{place}: column {kind.name}: {_line(error)}") from error
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        parquet.write_table(
            pa.Table.from_arrays(arrays, schema=kinds), temporary, compression="zstd"
        )
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def read_manifest(path: str | os.PathLike[str]) -> list[Source]:
    """The clips of a manifest, in its order, with absolute paths as they are and others joined to
    its folder.

    ``labels`` and ``targets`` may also be structs, as other libraries write dictionaries.

    Raises:
        DataError: the file is missing, damaged, no manifest, empty, or a row makes no sense.
    """
    place = Path(path)
    sources = [_source(place, number, row) for number, row in enumerate(_rows(place), 1)]
    if not sources:
        raise DataError(f"{place}: a manifest without rows")
    check_some_exist(place, sources)
    return sources


def _plain(row: Row) -> tuple[Any, ...]:
    """A row's values, dictionaries as pairs."""
    values = (getattr(row, column.name) for column in fields(row))
    return tuple(list(value.items()) if isinstance(value, Mapping) else value for value in values)


def _rows(place: Path) -> Iterator[dict[str, Any]]:
    """The rows as dictionaries of the columns that make a source."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    wanted = ["path", "start", "end", "labels", "targets", "source", "group", "flip"]
    try:
        # Not by name: that could be a URL, which Arrow would fetch.
        with place.open("rb") as file, parquet.ParquetFile(file) as table:
            there = table.schema_arrow.names
            if "path" not in there:
                raise DataError(
                    f"{place}: no column path among {', '.join(there[:8])}: not a manifest"
                )
            for batch in table.iter_batches(
                _ROWS, columns=[name for name in wanted if name in there]
            ):
                batch.validate(full=True)
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place}: not a Parquet file that can be read ({_line(error)})") from error


def _source(place: Path, number: int, row: Mapping[str, Any]) -> Source:
    def text(name: str) -> str:
        value = row.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise _wrong(place, number, f"{name} is {value!r}, expected text")
        return value

    def words(name: str) -> dict[str, str]:
        try:
            found = dict(row.get(name) or {})
        except (TypeError, ValueError):
            found = {"": None}
        if not all(isinstance(key, str) and key for key in found):
            raise _wrong(place, number, f"{name} is {row[name]!r}, expected names with values")
        # Class numbers, true and false are read as they would be written in a list.
        return {key: str(value) for key, value in found.items() if value is not None}

    if not text("path"):
        raise _wrong(place, number, "no path")
    start = _seconds(place, number, row, "start", 0.0)
    end = _seconds(place, number, row, "end", -1.0)
    if 0 <= end <= start:
        raise _wrong(place, number, f"starts at {start} s and ends at {end} s")
    flip = row.get("flip")
    return Source(
        os.fspath(place.parent / text("path")),
        start=max(start, 0.0),
        end=end if end >= 0 else -1.0,
        flip=text("source") not in NEVER_MIRRORED if flip is None else bool(flip),
        group=text("group"),
        labels=words("labels"),
        targets={kind: os.fspath(place.parent / file) for kind, file in words("targets").items()},
    )


def _seconds(place: Path, number: int, row: Mapping[str, Any], name: str, unknown: float) -> float:
    value = row.get(name)
    if value is None:
        return unknown
    if not isinstance(value, (int, float)) or math.isnan(value):
        raise _wrong(place, number, f"{name} is {value!r}, expected seconds")
    return float(value)


def _wrong(place: Path, number: int, what: str) -> DataError:
    return DataError(f"{place}, row {number}: {what}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
