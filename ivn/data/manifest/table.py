"""Many sources in little memory, shared by processes."""

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

# The status of a video of which every frame has been decoded; and of those that nobody refused.
OK = "ok"
USABLE = ("", OK)

# Sources that are Python objects at a time, while going through all.
_ROWS = 4096


def columns() -> "pa.Schema":
    """What a table knows of each source, as columns; see :class:`ivn.media.source.Source`."""
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
    """Sources as columns of Arrow in memory that processes share; each is made when asked for.

    A process that is started with it maps the same memory; any other pickle holds a copy. A slice
    is a table of the same memory.

    Attributes:
        left_out: rows of the manifest that are not here, since their status says why.
    """

    def __init__(self, memory: "_Memory", rows: range) -> None:
        self._memory, self._rows = memory, rows

    @property
    def left_out(self) -> int:
        return self._memory.left_out

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
        return _reopened, (*self._memory.handed_over(), self._rows)

    def weights(self) -> "Tensor":
        """How often each is drawn, fp64 ``[N]``."""
        import numpy as np
        import torch

        found = [part["weight"].to_numpy() for part in self._memory.parts(self._rows)]
        return torch.from_numpy(np.concatenate(found or [np.empty(0)]))

    def named(self, suffixes: Sequence[str]) -> "Tensor":
        """Whose names end in one of ``suffixes``, in small letters or capitals, bool ``[N]``."""
        import numpy as np
        import pyarrow.compute as pc
        import torch

        pattern = "(?i)(" + "|".join(map(re.escape, suffixes)) + ")$"
        found = [
            pc.match_substring_regex(
                pc.if_else(pc.equal(part["member"], ""), part["path"], part["member"]), pattern
            ).to_numpy(zero_copy_only=False)
            for part in self._memory.parts(self._rows)
        ]
        return torch.from_numpy(np.concatenate(found or [np.empty(0, bool)]))

    def described(self) -> Iterator[tuple[Any, ...]]:
        """As :func:`ivn.data.manifest.identity.described` of a list, without making the sources."""
        for part in self._memory.parts(self._rows):
            yield from self._memory.described(part)

    def outermost(self) -> tuple[str, str]:
        """The paths that a sorted list of them would begin and end with."""
        import pyarrow.compute as pc

        ends: list[str] = []
        for part in self._memory.parts(self._rows):
            paths = self._memory.places(part)
            ends += pc.min_max(paths).as_py().values()
        return min(ends), max(ends)


def table_of(batches: "Iterable[pa.RecordBatch]", *, folder: str) -> SourceTable:
    """A table of those rows whose ``status`` does not say why they cannot be used.

    Args:
        batches: rows with the columns of :func:`columns` and ``status``; a map may be null, nothing
            else.
        folder: what paths that are not absolute are relative to: "", or with a slash at its end.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    usable = pa.array(USABLE, pa.string())
    left_out = 0
    with _nameless() as file:
        with pa.ipc.new_file(file, columns()) as writer:
            for batch in batches:
                kept = batch.filter(pc.is_in(batch["status"], usable))
                left_out += len(batch) - len(kept)
                # Copied, since what is sliced out of another batch would be written with it.
                writer.write_batch(kept.drop_columns(["status"]))
        file.flush()
        size = file.tell()
        memory = _Memory(os.dup(file.fileno()), size, folder, left_out)
    return SourceTable(memory, range(memory.count))


def _nameless() -> IO[bytes]:
    """A file that no other process can open, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        # Not shared memory of /dev/shm: containers often have 64 MB of that.
        return os.fdopen(os.memfd_create("ivn sources"), "w+b")
    return tempfile.TemporaryFile()


def _reopened(memory: Any, size: int, folder: str, left_out: int, rows: range) -> SourceTable:
    """What :meth:`SourceTable.__reduce__` took apart."""
    if not isinstance(memory, bytes):
        return SourceTable(_Memory(memory.detach(), size, folder, left_out), rows)
    with _nameless() as file:
        file.write(memory)
        file.flush()
        return SourceTable(_Memory(os.dup(file.fileno()), size, folder, left_out), rows)


class _Memory:
    """Rows in Arrow's IPC format, in mapped memory that has no name.

    Args:
        descriptor: of the memory; closed with this object.
        size: of it, in bytes.
        folder, left_out: as in :func:`table_of`.
    """

    def __init__(self, descriptor: int, size: int, folder: str, left_out: int) -> None:
        import pyarrow as pa

        weakref.finalize(self, os.close, descriptor)
        self._descriptor, self._size = descriptor, size
        self._folder, self.left_out = folder, left_out
        mapped = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        reader = pa.ipc.open_file(pa.py_buffer(mapped))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self._starts = list(itertools.accumulate(map(len, self._batches), initial=0))

    def handed_over(self) -> tuple[Any, ...]:
        """What :func:`_reopened` makes one of, in another process or in this one."""
        if multiprocessing.context.get_spawning_popen() is None:
            with mmap.mmap(self._descriptor, self._size, prot=mmap.PROT_READ) as mapped:
                return mapped[:], self._size, self._folder, self.left_out
        return DupFd(self._descriptor), self._size, self._folder, self.left_out

    def parts(self, rows: range) -> "Iterator[pa.RecordBatch]":
        """The rows in their order, some at a time."""
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            runs = [some] if some.step == 1 else [range(row, row + 1) for row in some]
            for run in runs:
                at = run.start
                while at < run.stop:
                    number = bisect.bisect_right(self._starts, at) - 1
                    length = min(run.stop, self._starts[number + 1]) - at
                    yield self._batches[number].slice(at - self._starts[number], length)
                    at += length

    @property
    def count(self) -> int:
        """Of all rows."""
        return self._starts[-1]

    def sources(self, part: "pa.RecordBatch") -> Iterator[Source]:
        """The sources of some rows."""
        columns = [column.to_pylist() for column in part.columns]
        for path, start, end, flip, group, labels, targets, *rest in zip(*columns, strict=True):
            yield Source(
                self._place(path),
                start=start,
                end=end,
                flip=flip,
                group=group,
                labels=dict(labels or ()),
                targets={kind: self._place(file) for kind, file in targets or ()},
                member=rest[0],
                offset=rest[1],
                size=rest[2],
                decoder=rest[3],
            )

    def described(self, part: "pa.RecordBatch") -> Iterator[tuple[Any, ...]]:
        """What :func:`ivn.data.manifest.identity.described` tells, of some rows."""
        import pyarrow.compute as pc

        labels = pc.map_lookup(part["labels"], "label", "last").to_pylist()
        paths = self.places(part).to_pylist()
        names = ("start", "end", "flip", "member", "weight")
        yield from zip(paths, labels, *(part[name].to_pylist() for name in names), strict=True)

    def places(self, part: "pa.RecordBatch") -> "pa.Array":
        """The whole paths of some rows."""
        import pyarrow.compute as pc

        paths = part["path"]
        inside = pc.binary_join_element_wise(self._folder, paths, "")
        return pc.if_else(pc.starts_with(paths, "/"), paths, inside)

    def _place(self, path: str) -> str:
        return path if path.startswith("/") else self._folder + path
