"""Columns of a manifest as any program may have written them, checked and in our types.

A whole batch of rows is looked at at once; a wrong value is told with its row and column.
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
    place: Path,
    first: int,
) -> "pa.RecordBatch":
    """The rows with the columns of ``wanted``, nulls and missing columns filled.

    Maps may be null, which means empty. ``flip`` is what the row's ``source`` allows where the
    manifest does not say.

    Args:
        batch: rows of a manifest.
        wanted: columns to give, ``path`` among them.
        unknown: column -> what stands for null.
        place: of the manifest, for messages.
        first: number of the first row.

    Raises:
        DataError: a row makes no sense; it is named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    there = _Columns(batch, place, first)
    columns = [there.column(kind, unknown.get(kind.name)) for kind in wanted]
    made = pa.RecordBatch.from_arrays(columns, schema=wanted)
    there.refuse(pc.equal(made["path"], ""), lambda row: "no path")
    start, end = made["start"], made["end"]
    there.refuse(
        pc.and_(pc.less_equal(0.0, end), pc.less_equal(end, start)),
        lambda row: f"starts at {start[row].as_py()} s and ends at {end[row].as_py()} s",
    )
    return made


class _Columns:
    """The columns of one batch."""

    def __init__(self, batch: "pa.RecordBatch", place: Path, first: int) -> None:
        self._batch, self._place, self._first = batch, place, first
        self._names = set(batch.schema.names)

    def refuse(self, wrong: "pa.BooleanArray", why: Any) -> None:
        """Raise for the first row that is wrong: ``why(row)``, row counted from 0 in the batch."""
        import pyarrow.compute as pc

        row = pc.index(wrong, True).as_py()
        if row >= 0:
            raise DataError(f"{self._place}, row {self._first + row}: {why(row)}")

    def column(self, kind: "pa.Field", unknown: Any) -> "pa.Array":
        """The column of that name, as that type."""
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
            raise DataError(f"{self._place}: column {name}: {one_line(error)}") from error
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
            # Of the whole column that the batch is a part of, maybe: then what follows tells.
            keys = given.keys
            odd = keys.null_count or given.items.null_count or pc.any(pc.equal(keys, "")).as_py()
            if not odd:
                return given
        return self._words_one_by_one(name, given, wanted)

    def _words_one_by_one(self, name: str, given: "pa.Array", wanted: "pa.MapType") -> "pa.Array":
        import pyarrow as pa

        rows = []
        for row, value in enumerate(given.to_pylist()):
            try:
                found = dict(value or {})
            except (TypeError, ValueError):
                found = {"": None}
            if not all(isinstance(key, str) and key for key in found):
                raise DataError(
                    f"{self._place}, row {self._first + row}: {name} is {value!r}, "
                    "expected names with values"
                )
            # Class numbers, true and false are read as they would be written in a list.
            rows.append([(key, str(v)) for key, v in found.items() if v is not None])
        return pa.array(rows, wanted)
