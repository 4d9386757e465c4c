"""Keeps many sources in little memory."""

import bisect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from ivn.media.source import Source

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

# The status of a video whose frames were all decoded; and those of rows that are usable.
OK = "ok"
USABLE = ("", OK)

# Sources that are Python objects at a time while iterating.
_ROWS = 4096


def columns() -> "pa.Schema":
    """Returns the columns of a table: attributes of :class:`ivn.media.source.Source`, weight."""
    import pyarrow as pa

    text, words = pa.string(), pa.map_(pa.string(), pa.string())
    types: dict[str, pa.DataType] = {
        "path": text,
        "start": pa.float64(),
        "end": pa.float64(),
        "flip": pa.bool_(),
        "group": text,
        "labels": words,
        "targets": words,
        "member": text,
        "offset": pa.int64(),
        "size": pa.int64(),
        "decoder": text,
        "weight": pa.float64(),
    }
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


class SourceTable(Sequence[Source]):
    """A sequence of sources, stored as Arrow columns.

    Each access makes a new Source. A slice is a table of the same memory.

    Attributes:
        unusable: number of the manifest's rows that are not in the table, since their status is a
            reason why they are unusable.
    """

    def __init__(self, memory: "_Rows", rows: range) -> None:
        self._memory, self._rows = memory, rows

    @property
    def unusable(self) -> int:
        return self._memory.unusable

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> "SourceTable": ...
    def __getitem__(self, index: int | slice) -> "Source | SourceTable":
        if isinstance(index, slice):
            return SourceTable(self._memory, self._rows[index])
        row = self._rows[index]
        (part,) = self._memory.parts(range(row, row + 1))
        return next(self._memory.sources(part))

    def __iter__(self) -> Iterator[Source]:
        for part in self._memory.parts(self._rows):
            yield from self._memory.sources(part)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(Source.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} sources>"

    def weights(self) -> "Tensor":
        """Returns the weight of each source, fp64 ``[N]``."""
        import numpy as np
        import torch

        weights = [part["weight"].to_numpy() for part in self._memory.parts(self._rows)]
        return torch.from_numpy(np.concatenate(weights or [np.empty(0)]))

    def have_suffix(self, suffixes: Sequence[str]) -> "Tensor":
        """Returns whether each name ends in one of ``suffixes``, in any case, bool ``[N]``."""
        import numpy as np
        import pyarrow.compute as pc
        import torch

        pattern = "(?i)(" + "|".join(map(re.escape, suffixes)) + ")$"
        matches = [
            pc.match_substring_regex(
                pc.if_else(pc.equal(part["member"], ""), part["path"], part["member"]), pattern
            ).to_numpy(zero_copy_only=False)
            for part in self._memory.parts(self._rows)
        ]
        return torch.from_numpy(np.concatenate(matches or [np.empty(0, bool)]))

    def training_fields(self) -> Iterator[tuple[Any, ...]]:
        """Yields :func:`ivn.data.manifest.identity.training_fields` without making the sources."""
        for part in self._memory.parts(self._rows):
            yield from self._memory.training_fields(part)

    def outermost_paths(self) -> tuple[str, str]:
        """Returns the first and the last path in sorted order."""
        import pyarrow.compute as pc

        ends: list[str] = []
        for part in self._memory.parts(self._rows):
            paths = self._memory.paths(part)
            ends += pc.min_max(paths).as_py().values()
        return min(ends), max(ends)


def table_of(batches: "Iterable[pa.RecordBatch]", *, folder: str) -> SourceTable:
    """Returns a table of the rows that are usable by their status.

    Args:
        batches: rows with the columns of :func:`columns` and ``status``; only maps may be null.
        folder: prefix of relative paths: "", or a folder with a slash at its end.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    usable = pa.array(USABLE, pa.string())
    unusable, kept = 0, []
    for batch in batches:
        some = batch.filter(pc.is_in(batch["status"], usable))
        unusable += len(batch) - len(some)
        kept.append(some.drop_columns(["status"]))
    memory = _Rows(kept, folder, unusable)
    return SourceTable(memory, range(memory.count))


class _Rows:
    """Rows in Arrow's format.

    Args:
        batches: rows with the columns of :func:`columns`.
        folder: prefix of relative paths, see :func:`table_of`.
        unusable: number of rows that are not included.
    """

    def __init__(self, batches: "list[pa.RecordBatch]", folder: str, unusable: int) -> None:
        self._batches, self._folder, self.unusable = batches, folder, unusable
        self._starts = list(itertools.accumulate(map(len, batches), initial=0))

    def parts(self, rows: range) -> "Iterator[pa.RecordBatch]":
        """Yields the rows in their order, some at a time."""
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            runs = [some] if some.step == 1 else [range(row, row + 1) for row in some]
            for run in runs:
                first_row = run.start
                while first_row < run.stop:
                    number = bisect.bisect_right(self._starts, first_row) - 1
                    length = min(run.stop, self._starts[number + 1]) - first_row
                    yield self._batches[number].slice(first_row - self._starts[number], length)
                    first_row += length

    @property
    def count(self) -> int:
        """Number of all rows."""
        return self._starts[-1]

    def sources(self, part: "pa.RecordBatch") -> Iterator[Source]:
        """Yields the sources of some rows."""
        columns = [column.to_pylist() for column in part.columns]
        for path, start, end, flip, group, labels, targets, *rest in zip(*columns, strict=True):
            yield Source(
                self._whole_path(path),
                start=start,
                end=end,
                flip=flip,
                group=group,
                labels=dict(labels or ()),
                targets={kind: self._whole_path(file) for kind, file in targets or ()},
                member=rest[0],
                offset=rest[1],
                size=rest[2],
                decoder=rest[3],
            )

    def training_fields(self, part: "pa.RecordBatch") -> Iterator[tuple[Any, ...]]:
        """Yields :func:`ivn.data.manifest.identity.training_fields` of some rows."""
        import pyarrow.compute as pc

        labels = pc.map_lookup(part["labels"], "label", "last").to_pylist()
        paths = self.paths(part).to_pylist()
        names = ("start", "end", "flip", "member", "weight")
        yield from zip(paths, labels, *(part[name].to_pylist() for name in names), strict=True)

    def paths(self, part: "pa.RecordBatch") -> "pa.Array":
        """Returns the paths of some rows, with the folder where they are relative."""
        import pyarrow.compute as pc

        paths = part["path"]
        inside = pc.binary_join_element_wise(self._folder, paths, "")
        return pc.if_else(pc.starts_with(paths, "/"), paths, inside)

    def _whole_path(self, path: str) -> str:
        return path if path.startswith("/") else self._folder + path
