"""Memory that processes share: a ring of buffers, each for one batch.

The memory is anonymous and passed on as an open file: it does not need /dev/shm, which is small in
containers, and is freed with the last process that has it, even a killed one.
"""

import contextlib
import mmap
import os
import tempfile
from collections.abc import Mapping
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PAGE = 2**16  # a multiple of every system's page size


class Ring:
    """Buffers for batches of uint8 tensors, of which the first few are in use.

        ring = Ring({"pixels": (8, 5_000_000)}, count=4)
        ring.reserve(2)
        ring.buffer(1)["pixels"]    # the same memory in every process that has the ring

    A process can get it when it starts, not later.

    Args:
        shapes: name -> shape of a batch's tensor.
        count: largest number of buffers; they cost no memory until they are reserved.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], count: int) -> None:
        file = os.memfd_create("ivn-ring") if hasattr(os, "memfd_create") else _unlinked_file()
        os.ftruncate(file, count * buffer_bytes(shapes))
        self._map(file, dict(shapes), count)

    def _map(self, file: int, shapes: dict[str, tuple[int, ...]], count: int) -> None:
        self.shapes, self.count, self._file = shapes, count, file
        self.buffer_bytes = buffer_bytes(shapes)
        self._memory = torch.frombuffer(
            mmap.mmap(file, max(1, count * self.buffer_bytes)), dtype=torch.uint8
        )

    def __getstate__(self) -> tuple[Any, ...]:
        return reduction.DupFd(self._file), self.shapes, self.count

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        file, shapes, count = state
        self._map(file.detach(), shapes, count)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            os.close(self._file)

    def reserve(self, count: int) -> None:
        """Allocates the memory of the first ``count`` buffers.

        Raises:
            OSError: There is too little memory. Without this a process would be killed as it
                writes.
        """
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file, 0, count * self.buffer_bytes)

    def buffer(self, index: int) -> dict[str, Tensor]:
        """Returns the uint8 tensors of a buffer by their names."""
        views, start = {}, index * self.buffer_bytes
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            views[name] = self._memory[start : start + size].view(shape)
            start += size
        return views

    def bytes_of(self, index: int) -> Tensor:
        """Returns the memory of a buffer, uint8 ``[buffer_bytes]``."""
        return self._memory[index * self.buffer_bytes : (index + 1) * self.buffer_bytes]


def buffer_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns the bytes of a batch of these shapes, rounded up to whole pages."""
    return -(-sum(int(np.prod(shape)) for shape in shapes.values()) // _PAGE) * _PAGE


def _unlinked_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
