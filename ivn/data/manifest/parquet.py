"""Manifests: one Parquet file, one row a clip, with all that is known of it.

The columns and their types are in :class:`ivn.data.manifest.row.Row` and docs/data.md. A reader
needs ``path`` alone, takes the others' defaults where they are missing or null, and passes over
columns that it does not know, so that manifests of later versions can be read.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ivn.data.manifest.columns import checked
from ivn.data.manifest.row import MAPS, UNKNOWN, Row, schema, values_of
from ivn.data.manifest.table import USABLE, SourceTable, columns, table_of
from ivn.durable import check_absent, new_file
from ivn.errors import DataError, RequestError, one_line
from ivn.media.source import Source, is_url
from ivn.media.stand_in import stand_in_at

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_SUFFIX = ".parquet"

# Rows that are looked at, and rows that are Python objects, at a time.
_READ, _WRITTEN = 16384, 8192


def write_manifest(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
    """Write ``rows`` to a new file at ``path``, which appears whole or not at all.

    Rows are taken some at a time, so that there may be more than memory holds.

    Raises:
        DataError: there is a file already, the name does not end in .parquet, there is no row, or
            a row has a wrong type or a text that is not Unicode; it is named.
    """
    place = Path(path)
    check_new(place)
    _write(place, _batches(place, rows))


def join_manifests(place: Path, parts: Iterable[Path]) -> None:
    """Write the rows of some manifests of our own, as they are, to a new one at ``place``.

    Raises:
        DataError: as :func:`write_manifest`.
    """
    check_new(place)
    _write(place, (batch for part in parts for batch in _own(part)))


def count_rows(place: Path) -> int:
    """How many rows a manifest has.

    Raises:
        DataError: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    if not place.is_file():
        raise DataError(f"{place}: no such file")
    try:
        with place.open("rb") as file, parquet.ParquetFile(file) as table:
            return table.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{place}: {_why(place, error)}") from error


def count_bad(part: Path) -> int:
    """Rows of a manifest of our own whose status says why they cannot be used."""
    return sum(
        status not in USABLE for batch in _own(part) for status in batch["status"].to_pylist()
    )


def _own(part: Path) -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with part.open("rb") as file, parquet.ParquetFile(file) as table:
            yield from table.iter_batches(_READ)
    except pa.ArrowException as error:
        raise DataError(f"{part}: damaged; remove the folder and start again") from error


def _write(place: Path, batches: "Iterable[pa.RecordBatch]") -> None:
    """Write a new file, whole or not at all."""
    import pyarrow.parquet as parquet

    with new_file(place) as temporary:
        with parquet.ParquetWriter(temporary, schema(), compression="zstd") as writer:
            count = 0
            for batch in batches:
                writer.write_batch(batch)
                count += len(batch)
        if not count:
            raise DataError(f"{place}: no rows to write")


def check_new(place: Path) -> None:
    """Raise DataError unless a manifest can be written at ``place``."""
    if place.suffix.lower() != MANIFEST_SUFFIX:
        raise RequestError(f"{place}: a manifest's name ends in {MANIFEST_SUFFIX}")
    check_absent(place)
    if not place.absolute().parent.is_dir():
        raise DataError(f"{place.parent}: no such folder")


def manifest_at(name: str) -> Path:
    """The path of a manifest that a user names.

    Raises:
        DataError: there is none.
    """
    place = Path(name)
    if not place.exists():
        why = "a URL, expected a path: fetch it first" if is_url(name) else "no such file"
        raise DataError(f"{name}: {why}")
    if not place.is_file() or place.suffix.lower() != MANIFEST_SUFFIX:
        raise DataError(
            f"{place}: expected a manifest ({MANIFEST_SUFFIX}); make one of it: ivn data index"
        )
    return place


def read_manifest(path: str | os.PathLike[str]) -> SourceTable:
    """The clips of a manifest, in its order, with absolute paths as they are and others joined to
    its folder; without the rows whose ``status`` says why they cannot be used.

    ``labels`` and ``targets`` may also be structs, as other libraries write dictionaries.

    Raises:
        DataError: the file is missing, damaged, no manifest, empty, or a row makes no sense.
    """
    place = Path(path)
    sources = table_of(_for_table(place), folder=os.fspath(place.parent / "x")[:-1])
    if not sources:
        if sources.left_out:
            raise DataError(
                f"{place}: the status of each of its {sources.left_out} rows says why it cannot "
                "be used"
            )
        raise DataError(f"{place}: a manifest without rows")
    check_some_exist(place, sources)
    return sources


def read_rows(
    path: str | os.PathLike[str], *, beside: str | os.PathLike[str] = ""
) -> Iterator[Row]:
    """All rows of a manifest with all that is known of them, some in memory at a time.

    Args:
        path: of the manifest.
        beside: a new manifest that the rows are for: what was relative to this one's folder is
            relative to that one's where it lies below it, and absolute elsewhere. Without it all
            paths are absolute.

    Raises:
        DataError: as :func:`read_manifest`, when the row is met.
    """
    place = Path(path)
    folder, target = place.parent.absolute(), os.path.join(Path(beside).parent.absolute(), "")

    def moved(file: str) -> str:
        whole = os.fspath(folder / file)
        return relative_to(whole, target) if beside and not os.path.isabs(file) else whole

    for batch in _checked(place, schema()):
        columns = [column.to_pylist() for column in batch.columns]
        for values in zip(*columns, strict=True):
            known = dict(zip(batch.schema.names, values, strict=True))
            for name in MAPS:
                known[name] = dict(known[name] or ())
            targets = {kind: moved(file) for kind, file in known["targets"].items()}
            known |= {"captions": tuple(known["captions"] or ()), "targets": targets}
            audio = known["audio"] and moved(known["audio"])
            yield Row(**(known | {"path": moved(known["path"]), "audio": audio}))


def relative_to(file: str, folder: str) -> str:
    """The absolute path ``file`` as one relative to ``folder``, where it lies below it.

    Args:
        file: the path.
        folder: absolute, with a slash at its end.
    """
    if _ODD.search(file):
        file = os.fspath(PurePath(file))
    inside = file.startswith(folder) and "/../" not in file
    return file[len(folder) :] if inside else file


def _batches(place: Path, rows: Iterable[Row]) -> "Iterator[pa.RecordBatch]":
    """The rows as columns, some at a time."""
    import pyarrow as pa

    kinds, left = schema(), iter(rows)
    while some := list(itertools.islice(left, _WRITTEN)):
        arrays = []
        for kind, column in zip(kinds, zip(*map(values_of, some), strict=True), strict=True):
            try:
                values = [list(one.items()) for one in column] if kind.name in MAPS else column
                arrays.append(pa.array(values, kind.type))
            except (
                pa.ArrowException,
                AttributeError,
                TypeError,
                ValueError,
                OverflowError,
            ) as error:
                raise DataError(f"{place}: column {kind.name}: {one_line(error)}") from error
        yield pa.RecordBatch.from_arrays(arrays, schema=kinds)


def _for_table(place: Path) -> "Iterator[pa.RecordBatch]":
    """The rows with a table's columns and their status."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = [columns().field(name) for name in columns().names if name != "size"]
    kinds = pa.schema([*wanted, pa.field("bytes", pa.int64()), pa.field("status", pa.string())])
    names = [*columns().names, "status"]
    for batch in _checked(place, kinds):
        rows = {name: batch["bytes" if name == "size" else name] for name in names}
        # A path as pathlib would join it; times before the start or after the end as none.
        rows["path"] = _tidy(rows["path"])
        rows["start"] = pc.max_element_wise(rows["start"], 0.0)
        rows["end"] = pc.if_else(pc.less(rows["end"], 0.0), -1.0, rows["end"])
        # As in Row.as_source.
        unplaced = pc.or_(pc.equal(rows["member"], ""), pc.equal(rows["offset"], 0))
        rows["size"] = pc.if_else(unplaced, 0, rows["size"])
        yield pa.RecordBatch.from_pydict(rows)


def _tidy(paths: "pa.Array") -> "pa.Array":
    """Without the parts of a path that mean nothing, of which most paths have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    odd = pc.match_substring_regex(paths, _ODD.pattern)
    if not pc.any(odd).as_py():
        return paths
    tidied = [os.fspath(PurePath(path)) for path in paths.filter(odd).to_pylist()]
    return pc.replace_with_mask(paths, odd, pa.array(tidied, pa.string()))


def _checked(place: Path, wanted: "pa.Schema") -> "Iterator[pa.RecordBatch]":
    """The rows with the columns of ``wanted``, some at a time."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    if not place.is_file():
        raise DataError(f"{place}: no such file")
    try:
        # Not by name: that could be a URL, which Arrow would fetch.
        with place.open("rb") as file, parquet.ParquetFile(file) as table:
            there = table.schema_arrow.names
            if "path" not in there:
                raise DataError(
                    f"{place}: no column path among {', '.join(there[:8])}: not a manifest"
                )
            if twice := [name for name in wanted.names if there.count(name) > 1]:
                raise DataError(f"{place}: {there.count(twice[0])} columns {twice[0]}")
            needed = [name for name in {*wanted.names, "source"} if name in there]
            first = 1
            for batch in table.iter_batches(_READ, columns=needed):
                batch.validate(full=True)
                yield checked(batch, wanted, UNKNOWN, place, first)
                first += len(batch)
    except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{place}: {_why(place, error)}") from error


def _why(place: Path, error: Exception) -> str:
    return stand_in_at(place) or f"not a Parquet file that can be read ({one_line(error)})"


# Parts of a path that mean nothing.
_ODD = re.compile(r"//|(^|/)\.(/|$)|./$")


def check_some_exist(place: Path, sources: Sequence[Source]) -> None:
    """Raise DataError where not one of ten paths of the list at ``place`` exists.

    A few suffice: a wrong folder makes all paths wrong, and a long list would take minutes.
    """
    some = sources[:: max(1, len(sources) // 10)]
    if not any(os.path.exists(source.path) for source in some):
        raise DataError(
            f"{place}: none of {len(some)} paths tried exists, {some[0].path} for one; "
            "paths are taken relative to the list's folder"
        )
