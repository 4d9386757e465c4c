"""Checks the columns of a manifest that any program may have written, and casts their types.

A whole batch of rows is checked at once; an error names the row and column of a wrong value.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ivn.data.manifest.row import NEVER_MIRRORED
from ivn.errors import DataError, one_line

if TYPE_CHECKING:
    import pyarrow as pa

_SECONDS = frozenset({"start", "end"})
_BYTES = frozenset({"offset", "bytes"})


def checked(
    batch: "pa.RecordBatch",
    wanted: "pa.Schema",
    unknown: Mapping[str, Any],
    manifest: Path,
    first: int,
) -> "pa.RecordBatch":
    """Returns the rows with the columns of ``wanted``, nulls and missing columns filled.

    Maps may be null, which means empty. A missing ``flip`` follows from the row's ``source``.

    Args:
        batch: rows of a manifest.
        wanted: columns of the result, with ``path``.
        unknown: column -> value in place of null.
        manifest: path of the manifest, for messages.
        first: number of the first row, for messages.

    Raises:
        DataError: A row has an invalid value; the message names the row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = _Columns(batch, manifest, first)
    arrays = [columns.column(field, unknown.get(field.name)) for field in wanted]
    result = pa.RecordBatch.from_arrays(arrays, schema=wanted)
    columns.refuse(pc.equal(result["path"], ""), lambda row: "no path")
    start, end = result["start"], result["end"]
    columns.refuse(
        pc.and_(pc.less_equal(0.0, end), pc.less_equal(end, start)),
        lambda row: f"starts at {start[row].as_py()} s and ends at {end[row].as_py()} s",
    )
    return result


class _Columns:
    """The columns of one batch of rows."""

    def __init__(self, batch: "pa.RecordBatch", manifest: Path, first: int) -> None:
        self._batch, self._manifest, self._first = batch, manifest, first
        self._names = set(batch.schema.names)

    def refuse(self, wrong: "pa.BooleanArray", why: Any) -> None:
        """Raises DataError with ``why(row)`` for the first wrong row; rows count from 0."""
        import pyarrow.compute as pc

        row = pc.index(wrong, True).as_py()
        if row >= 0:
            raise DataError(f"{self._manifest}, row {self._first + row}: {why(row)}")

    def column(self, kind: "pa.Field", unknown: Any) -> "pa.Array":
        """Returns the column with the name and type of ``kind``."""
        import pyarrow as pa
        import pyarrow.types as types

        if kind.name == "flip":
            return self._flip()
        if kind.name not in self._names:
            if unknown is None:
                return pa.nulls(len(self._batch), kind.type)
            return pa.repeat(pa.scalar(unknown, kind.type), len(self._batch))
        given = self._batch[kind.name]
        if types.is_map(kind.type):
            return self._words(kind.name, given, kind.type)
        if types.is_dictionary(given.type):
            given = given.dictionary_decode()
        return self._plain(kind, given, unknown)

    def _plain(self, kind: "pa.Field", given: "pa.Array", unknown: Any) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.types as types

        name, have = kind.name, given.type
        number = types.is_integer(have) or types.is_boolean(have)
        if types.is_list(kind.type):
            fits, expected = types.is_list(have) or types.is_large_list(have), "a list of texts"
        elif types.is_string(kind.type):
            fits = (
                types.is_string(have) or types.is_large_string(have) or types.is_string_view(have)
            )
            expected = "text"
        elif types.is_boolean(kind.type):
            fits, expected = types.is_boolean(have), "true or false"
        elif types.is_integer(kind.type):
            fits, expected = number, "a whole number"
        else:
            fits = number or types.is_floating(have)
            expected = "seconds" if name in _SECONDS else "a number"

        def why(row: int) -> str:
            return f"{name} is {given[row].as_py()!r}, expected {expected}"

        if not fits:
            self.refuse(given.is_valid(), why)
        try:
            values = given.cast(kind.type, safe=types.is_integer(kind.type))
        except pa.ArrowInvalid as error:
            raise DataError(f"{self._manifest}: column {name}: {one_line(error)}") from error
        if types.is_floating(kind.type):
            self.refuse(pc.is_nan(values), why)
        if name in _BYTES:
            self.refuse(pc.less(values, 0), why)
        return values if unknown is None else values.fill_null(unknown)

    def _flip(self) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        never = pa.array(sorted(NEVER_MIRRORED), pa.string())
        source = self.column(pa.field("source", pa.string()), "")
        allowed = pc.invert(pc.is_in(source, never))
        if "flip" not in self._names:
            return allowed
        given = self._batch["flip"]
        if not pa.types.is_boolean(given.type):
            values = [None if value is None else bool(value) for value in given.to_pylist()]
            given = pa.array(values, pa.bool_())
        return pc.coalesce(given, allowed)

    def _words(self, name: str, given: "pa.Array", wanted: "pa.MapType") -> "pa.Array":
        import pyarrow.compute as pc

        if given.type.equals(wanted):
            # These may be keys of rows outside the batch, too: then the check of each row decides.
            keys = given.keys
            suspect = (
                keys.null_count or given.items.null_count or pc.any(pc.equal(keys, "")).as_py()
            )
            if not suspect:
                return given
        return self._words_one_by_one(name, given, wanted)

    def _words_one_by_one(self, name: str, given: "pa.Array", wanted: "pa.MapType") -> "pa.Array":
        import pyarrow as pa

        rows = []
        for row, value in enumerate(given.to_pylist()):
            try:
                pairs = dict(value or {})
            except (TypeError, ValueError):
                pairs = {"": None}
            if not all(isinstance(key, str) and key for key in pairs):
                raise DataError(
                    f"{self._manifest}, row {self._first + row}: {name} is {value!r}, "
                    "expected names with values"
                )
            # Numbers, true and false become the text that a list would have.
            rows.append([(key, str(v)) for key, v in pairs.items() if v is not None])
        return pa.array(rows, wanted)
