"""Keeps many sources in little memory that processes share."""

import bisect
import itertools
import mmap
import multiprocessing.context
import os
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.reduction import DupFd
from typing import IO, TYPE_CHECKING, Any, overload

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
    """A sequence of sources, stored as Arrow columns in memory that processes share.

    Each access makes a new Source. A process that is started with the table maps the same memory;
    any other pickle has a copy. A slice is a table of the same memory.

    Attributes:
        unusable: number of the manifest's rows that are not in the table, since their status is a
            reason why they are unusable.
    """

    def __init__(self, memory: "_SharedRows", rows: range) -> None:
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

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (*self._memory.pickled(), self._rows)

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
    unusable = 0
    with _anonymous_file() as file:
        with pa.ipc.new_file(file, columns()) as writer:
            for batch in batches:
                kept = batch.filter(pc.is_in(batch["status"], usable))
                unusable += len(batch) - len(kept)
                # A copy, since a slice would be written with the whole batch.
                writer.write_batch(kept.drop_columns(["status"]))
        file.flush()
        size = file.tell()
        memory = _SharedRows(os.dup(file.fileno()), size, folder, unusable)
    return SourceTable(memory, range(memory.count))


def _anonymous_file() -> IO[bytes]:
    """Opens a file that no other process can open, in memory where the system allows it."""
    if hasattr(os, "memfd_create"):
        # Not in /dev/shm, which often has only 64 MB in containers.
        return os.fdopen(os.memfd_create("ivn sources"), "w+b")
    return tempfile.TemporaryFile()


def _unpickled(memory: Any, size: int, folder: str, unusable: int, rows: range) -> SourceTable:
    """Makes the table that :meth:`SourceTable.__reduce__` describes."""
    if not isinstance(memory, bytes):
        return SourceTable(_SharedRows(memory.detach(), size, folder, unusable), rows)
    with _anonymous_file() as file:
        file.write(memory)
        file.flush()
        return SourceTable(_SharedRows(os.dup(file.fileno()), size, folder, unusable), rows)


class _SharedRows:
    """Rows in Arrow's IPC format, in mapped anonymous memory.

    Args:
        descriptor: file descriptor of the memory; closed with this object.
        size: length of the memory, in bytes.
        folder: prefix of relative paths, see :func:`table_of`.
        unusable: number of rows that are not included.
    """

    def __init__(self, descriptor: int, size: int, folder: str, unusable: int) -> None:
        import pyarrow as pa

        weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._size = descriptor, size
        self._folder, self.unusable = folder, unusable
        mapped = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        reader = pa.ipc.open_file(pa.py_buffer(mapped))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._starts = list(itertools.accumulate(map(len, self._batches), initial=0))

    def pickled(self) -> tuple[Any, ...]:
        """Returns the arguments of :func:`_unpickled` before the rows."""
        if multiprocessing.context.get_spawning_popen() is None:
            with mmap.mmap(self._descriptor, self._size, prot=mmap.PROT_READ) as mapped:
                return mapped[:], self._size, self._folder, self.unusable
        return DupFd(self._descriptor), self._size, self._folder, self.unusable

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
