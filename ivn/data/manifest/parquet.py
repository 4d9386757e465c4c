"""Reads and writes manifests: Parquet files with one row per source and all its facts.

:class:`ivn.data.manifest.row.Row` and docs/data.md list the columns and their types. Only ``path``
is required: other columns have defaults where they are missing or null, and unknown columns are
ignored, so that manifests of later versions can be read.
"""

import contextlib
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
    import pyarrow.parquet as parquet

MANIFEST_SUFFIX = ".parquet"

# Rows that are read at a time, and rows that are Python objects at a time.
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
        DataError: The new manifest cannot be written, see :func:`write_manifest`.
    """
    check_new(place)
    _write(place, (batch for part in parts for batch in _own(part)))


def count_rows(place: Path) -> int:
    """Returns the number of rows of a manifest.

    Raises:
        DataError: The manifest cannot be read.
    """
    with _opened(place) as table:
        return table.metadata.num_rows


def count_unusable(part: Path) -> int:
    """Returns the number of rows that are unusable by their status, in a manifest of our own."""
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
    """Returns the path of a manifest that a user names.

    Raises:
        DataError: There is no such manifest.
    """
    path = Path(name)
    if not path.exists():
        reason = "a URL, expected a path: fetch it first" if is_url(name) else "no such file"
        raise DataError(f"{name}: {reason}")
    if not path.is_file() or path.suffix.lower() != MANIFEST_SUFFIX:
        raise DataError(
            f"{path}: expected a manifest ({MANIFEST_SUFFIX}); make one of it: ivn data index"
        )
    return path


def read_manifest(path: str | os.PathLike[str]) -> SourceTable:
    """Returns the sources of a manifest, in its order, without rows that are unusable by status.

    Relative paths are joined to the manifest's folder. ``labels`` and ``targets`` may also be
    structs, as other libraries write dictionaries.

    Raises:
        DataError: The file does not exist, is damaged, no manifest or empty, or a row has an
            invalid value.
    """
    file = Path(path)
    sources = table_of(_for_table(file), folder=os.fspath(file.parent / "x")[:-1])
    if not sources:
        if sources.unusable:
            raise DataError(
                f"{file}: each of its {sources.unusable} rows is unusable: their status says why"
            )
        raise DataError(f"{file}: a manifest without rows")
    check_some_exist(file, sources)
    return sources


def read_rows(
    path: str | os.PathLike[str], *, beside: str | os.PathLike[str] = ""
) -> Iterator[Row]:
    """Yields all rows of a manifest with all columns; a few are in memory at a time.

    Args:
        path: manifest to read.
        beside: new manifest for the rows. Relative paths become relative to its folder where they
            lie below it, and absolute elsewhere. Without it all paths become absolute.

    Raises:
        DataError: The manifest is invalid, see :func:`read_manifest`; raised at the invalid row.
    """
    manifest = Path(path)
    folder, target = manifest.parent.absolute(), os.path.join(Path(beside).parent.absolute(), "")

    def moved(file: str) -> str:
        whole = os.fspath(folder / file)
        return relative_to(whole, target) if beside and not os.path.isabs(file) else whole

    for batch in _checked(manifest, schema()):
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
    """Returns ``file`` relative to ``folder`` where it lies below it, otherwise as it is.

    Args:
        file: absolute path.
        folder: absolute path with a slash at its end.
    """
    if _REDUNDANT.search(file):
        file = os.fspath(PurePath(file))
    inside = file.startswith(folder) and "/../" not in file
    return file[len(folder) :] if inside else file


def _batches(path: Path, rows: Iterable[Row]) -> "Iterator[pa.RecordBatch]":
    """Yields the rows as columns, some at a time."""
    import pyarrow as pa

    fields, remaining = schema(), iter(rows)
    while some := list(itertools.islice(remaining, _WRITTEN)):
        arrays = []
        for field, column in zip(fields, zip(*map(values_of, some), strict=True), strict=True):
            try:
                values = [list(value.items()) for value in column] if field.name in MAPS else column
                arrays.append(pa.array(values, field.type))
            except (
                pa.ArrowException,
                AttributeError,
                TypeError,
                ValueError,
                OverflowError,
            ) as error:
                raise DataError(f"{path}: column {field.name}: {one_line(error)}") from error
        yield pa.RecordBatch.from_arrays(arrays, schema=fields)


def _for_table(path: Path) -> "Iterator[pa.RecordBatch]":
    """Yields the rows with the columns of a :class:`SourceTable` and their status."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = [columns().field(name) for name in columns().names if name != "size"]
    fields = pa.schema([*wanted, pa.field("bytes", pa.int64()), pa.field("status", pa.string())])
    names = [*columns().names, "status"]
    for batch in _checked(path, fields):
        rows = {name: batch["bytes" if name == "size" else name] for name in names}
        # Paths as pathlib writes them; times outside the file as its start and end.
        rows["path"] = _without_redundant_parts(rows["path"])
        rows["start"] = pc.max_element_wise(rows["start"], 0.0)
        rows["end"] = pc.if_else(pc.less(rows["end"], 0.0), -1.0, rows["end"])
        # As in Row.as_source: a size is of use only for a member whose offset is known.
        unplaced = pc.or_(pc.equal(rows["member"], ""), pc.equal(rows["offset"], 0))
        rows["size"] = pc.if_else(unplaced, 0, rows["size"])
        yield pa.RecordBatch.from_pydict(rows)


def _without_redundant_parts(paths: "pa.Array") -> "pa.Array":
    """Returns the paths as pathlib writes them; most are unchanged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    redundant = pc.match_substring_regex(paths, _REDUNDANT.pattern)
    if not pc.any(redundant).as_py():
        return paths
    written = [os.fspath(PurePath(path)) for path in paths.filter(redundant).to_pylist()]
    return pc.replace_with_mask(paths, redundant, pa.array(written, pa.string()))


def _checked(path: Path, wanted: "pa.Schema") -> "Iterator[pa.RecordBatch]":
    """Yields the rows with the columns of ``wanted``, checked, some at a time."""
    with _opened(path) as table:
        present = table.schema_arrow.names
        if "path" not in present:
            raise DataError(
                f"{path}: no column path among {', '.join(present[:8])}: not a manifest"
            )
        if twice := [name for name in wanted.names if present.count(name) > 1]:
            raise DataError(f"{path}: {present.count(twice[0])} columns {twice[0]}")
        needed = [name for name in {*wanted.names, "source"} if name in present]
        first = 1
        for batch in table.iter_batches(_READ, columns=needed):
            batch.validate(full=True)
            yield checked(batch, wanted, UNKNOWN, path, first)
            first += len(batch)


@contextlib.contextmanager
def _opened(path: Path) -> "Iterator[parquet.ParquetFile]":
    """Opens a manifest that any program may have written; its errors are DataErrors."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        # Arrow gets an open file: it would fetch a name that is a URL.
        with path.open("rb") as file, parquet.ParquetFile(file) as table:
            yield table
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        why = stand_in_at(path) or f"not a Parquet file that can be read ({one_line(error)})"
        raise DataError(f"{path}: {why}") from error


# Parts of a path that pathlib removes.
_REDUNDANT = re.compile(r"//|(^|/)\.(/|$)|./$")


def check_some_exist(path: Path, sources: Sequence[Source]) -> None:
    """Raises DataError where none of ten of the sources of a list or manifest exists.

    Ten are enough: a wrong folder makes all paths wrong, and a long list would take minutes.

    Args:
        path: list or manifest, for the message.
        sources: its sources.
    """
    some = sources[:: max(1, len(sources) // 10)]
    if not any(os.path.exists(source.path) for source in some):
        raise DataError(
            f"{path}: none of {len(some)} paths tried exists, {some[0].path} for one; "
            "paths are taken relative to the list's folder"
        )
